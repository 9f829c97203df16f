// OpenAPI Generator's go: ./life URL
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"time"

	client "github.com/GIT_USER_ID/GIT_REPO_ID"
)

type object = map[string]interface{}

func same(expected, actual interface{}) {
	if !reflect.DeepEqual(plain(expected), plain(actual)) {
		panic(fmt.Sprintf("%v is not %v", plain(expected), plain(actual)))
	}
}

func plain(value interface{}) interface{} {
	text, err := json.Marshal(value)
	must(err)
	var read interface{}
	must(json.Unmarshal(text, &read))
	return read
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// The maps of changes have pointers.
func answer(value interface{}) *interface{} { return &value }

// Returns the error in the class that the client has for it.
func refused(err error) interface{} { return err.(*client.GenericOpenAPIError).Model() }

func main() {
	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: os.Args[1]}}
	api, ctx := client.NewAPIClient(configuration), context.Background()
	sessions := api.SessionsAPI
	unique := time.Now().UnixNano()
	user, quiz := fmt.Sprintf("go-%d", unique), fmt.Sprintf("quiz-%d", unique)
	missingId := fmt.Sprintf("00000000-0000-4000-8000-%012d", unique%1000000000000)
	drawing := object{"row": 2.0, "points": []interface{}{0.5, 1.0, nil}, "labels": object{"": []string{}}}

	health, _, err := api.HealthAPI.GetHealth(ctx).Execute()
	must(err)
	same(client.HEALTHY, health.Status)

	asked := client.NewStartSession(user, quiz)
	asked.SetTimeLimitSeconds(0)
	asked.SetMetadata(object{"course": "B12"})
	started, reply, err := sessions.StartSession(ctx).StartSession(*asked).IdempotencyKey(user).Execute()
	must(err)
	same([]interface{}{201, quiz, 0, nil}, []interface{}{reply.StatusCode, started.QuizId, started.CurrentQuestion, started.ExpiresAt.Get()})
	asked = client.NewStartSession(user, quiz)
	asked.SetIfActive(client.RESUME)
	resumed, reply, err := sessions.StartSession(ctx).StartSession(*asked).Execute()
	must(err)
	same([]interface{}{200, started.Id}, []interface{}{reply.StatusCode, resumed.Id})

	save := func(body *client.SaveAnswer) *client.Session {
		saved, _, err := sessions.UpdateProgress(ctx, started.Id).SaveAnswer(*body).Execute()
		must(err)
		return saved
	}
	body := client.NewSaveAnswer("q1_1", drawing)
	body.SetAnnotation(object{"review": true})
	drawn := save(body)
	same([]interface{}{object{"q1_1": drawing}, object{"q1_1": object{"review": true}}}, []interface{}{drawn.Answers, drawn.Annotations})
	number := save(client.NewSaveAnswer(3, 2.5))
	same([]interface{}{2.5, 3}, []interface{}{number.Answers["3"], number.CurrentQuestion})
	same(object{"q1_1": drawing}, save(client.NewSaveAnswer(3, json.RawMessage("null"))).Answers)
	changes := client.NewSaveAnswers()
	changes.SetAnswers(map[string]*interface{}{"q1_1": nil, "q9": answer([]string{"a", "c"}), "q10": answer(false)})
	many, _, err := sessions.SaveAnswers(ctx, started.Id).SaveAnswers(*changes).Execute()
	must(err)
	same(object{"q9": []string{"a", "c"}, "q10": false}, many.Answers)

	body = client.NewSaveAnswer(5, "mine")
	body.SetVersion(1)
	_, reply, err = sessions.UpdateProgress(ctx, started.Id).SaveAnswer(*body).Execute()
	conflict := refused(err).(client.SessionConflictError)
	same([]interface{}{409, "SESSION_CONFLICT", many.Answers}, []interface{}{reply.StatusCode, conflict.ErrorCode, conflict.Session.Answers})
	read, _, err := sessions.GetSession(ctx, started.Id).Execute()
	must(err)
	same(many, read)
	_, reply, err = sessions.GetSession(ctx, missingId).Execute()
	missing := refused(err).(client.SessionNotFoundError)
	same([]interface{}{404, "SESSION_NOT_FOUND"}, []interface{}{reply.StatusCode, missing.ErrorCode})
	page, _, err := sessions.ListSessions(ctx).UserId(user).QuizId(quiz).Execute()
	must(err)
	same([]interface{}{1, started.Id, quiz}, []interface{}{len(page.Items), page.Items[0].Id, page.Items[0].QuizId})

	last := client.NewCompleteSession()
	last.SetAnswers(map[string]*interface{}{"5": answer("")})
	completed, _, err := sessions.CompleteSession(ctx, started.Id).CompleteSession(*last).Execute()
	must(err)
	same([]interface{}{client.COMPLETED, client.LEARNER}, []interface{}{completed.Status, completed.EndedBy.Get()})
	again, _, err := sessions.CompleteSession(ctx, started.Id).Execute()
	must(err)
	same(completed, again)
	_, reply, err = sessions.UpdateProgress(ctx, started.Id).SaveAnswer(*client.NewSaveAnswer(5, "late")).Execute()
	late := refused(err).(client.SessionEndedError)
	same([]interface{}{410, "SESSION_COMPLETED", completed.Answers}, []interface{}{reply.StatusCode, late.ErrorCode, late.Session.Answers})

	teach(api, ctx, user, quiz+"-room")
	mistake := client.NewReopenSession(60, "a mistake")
	reopened, _, err := api.OrdersAPI.ReopenSession(ctx, started.Id).IdempotencyKey("again").ReopenSession(*mistake).Execute()
	must(err)
	same([]interface{}{client.IN_PROGRESS, nil}, []interface{}{reopened.Status, reopened.EndedBy.Get()})

	asked = client.NewStartSession(user, "7")
	asked.SetTimeLimitSeconds(1)
	short, _, err := sessions.StartSession(ctx).StartSession(*asked).Execute()
	must(err)
	same(7, short.QuizId)
	time.Sleep(1200 * time.Millisecond)
	_, reply, err = sessions.GetSession(ctx, short.Id).Execute()
	expired := refused(err).(client.SessionEndedError)
	same([]interface{}{410, "SESSION_EXPIRED", client.EXPIRED}, []interface{}{reply.StatusCode, expired.ErrorCode, expired.Session.Status})
}

// A teacher pauses, extends and resumes the session of a quiz, and reads the history and the feed.
func teach(api *client.APIClient, ctx context.Context, user, room string) {
	orders := api.OrdersAPI
	started, _, err := api.SessionsAPI.StartSession(ctx).StartSession(*client.NewStartSession(user, room)).Execute()
	must(err)
	alarm := client.NewPauseSession()
	alarm.SetReason("fire alarm")
	paused, _, err := orders.PauseSession(ctx, started.Id).IdempotencyKey("pause").PauseSession(*alarm).Execute()
	must(err)
	same(client.PAUSED, paused.Status)
	_, reply, err := api.SessionsAPI.UpdateProgress(ctx, started.Id).SaveAnswer(*client.NewSaveAnswer(1, "x")).Execute()
	refusal := refused(err).(client.SessionPausedError)
	same([]interface{}{423, "SESSION_PAUSED", paused}, []interface{}{reply.StatusCode, refusal.ErrorCode, refusal.Session})
	more := client.NewChangeDeadline()
	more.SetExtraSeconds(600)
	extended, _, err := orders.ChangeDeadline(ctx, started.Id).IdempotencyKey("more").ChangeDeadline(*more).Execute()
	must(err)
	same(600, extended.ExpiresAt.Get().Sub(*paused.ExpiresAt.Get()).Seconds())
	report, _, err := orders.ResumeSessions(ctx).IdempotencyKey("on").ResumeSessions(*client.NewResumeSessions(room)).Execute()
	must(err)
	same([]interface{}{1, false}, []interface{}{report.Changed, report.Unfinished})
	history, _, err := api.SessionsAPI.ListSessionEvents(ctx, started.Id).Execute()
	must(err)
	types := []string{}
	for _, line := range history.Items {
		types = append(types, line.Type)
	}
	same([]string{"session.started", "session.paused", "session.deadline_changed", "session.resumed"}, types)
	items := []client.FeedEvent{}
	for len(items) == 0 {
		page, _, err := api.EventsAPI.ListEvents(ctx).QuizId(room).Wait(4).Execute()
		must(err)
		items = page.Items
	}
	same([]interface{}{"session.started", started.Id}, []interface{}{items[0].Type, items[0].SessionId})
}
