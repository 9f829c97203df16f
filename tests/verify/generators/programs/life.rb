# OpenAPI Generator's ruby: ruby -I client/lib life.rb URL
require "openapi_client"
require "securerandom"
require "uri"
include OpenapiClient

url = URI(ARGV[0])
OpenapiClient.configure do |configuration|
  configuration.scheme = url.scheme
  configuration.host = "#{url.host}:#{url.port}"
  configuration.base_path = ""
end
SESSIONS = SessionsApi.new

def same(expected, actual)
  texts = [expected, actual].map { |value| JSON.generate(value) }
  raise texts.join(" is not ") unless JSON.parse(texts[0]) == JSON.parse(texts[1])
end

# The client has no class for the body of an error.
def refused
  yield
  raise "not refused"
rescue ApiError => error
  [error.code, JSON.parse(error.response_body)]
end

user = "ruby-#{SecureRandom.uuid}"
quiz = SecureRandom.uuid
drawing = { "row" => 2, "points" => [0.5, 1], "labels" => { "" => [] } }
same "healthy", HealthApi.new.get_health.status

asked = StartSession.new(user_id: user, quiz_id: quiz, time_limit_seconds: 0, metadata: { "course" => "B12" })
started, status, = SESSIONS.start_session_with_http_info(asked, idempotency_key: SecureRandom.uuid)
same [201, quiz, 0, nil], [status, started.quiz_id, started.current_question, started.expires_at]
id = started.id
resumed, status, = SESSIONS.start_session_with_http_info(
  StartSession.new(user_id: user, quiz_id: quiz, if_active: "resume")
)
same [200, id], [status, resumed.id]

save = lambda do |question, answer, **more|
  SESSIONS.update_progress(id, SaveAnswer.new(question_id: question, answer: answer, **more))
end
drawn = save.("q1_1", drawing, annotation: { review: true })
same [{ "q1_1" => drawing }, { "q1_1" => { review: true } }], [drawn.answers, drawn.annotations]
number = save.(3, 2.5)
same [2.5, 3], [number.answers["3"] || number.answers[:"3"], number.current_question]
same({ "q1_1" => drawing }, save.(3, nil).answers)
many = SESSIONS.save_answers(id, SaveAnswers.new(answers: { "q1_1" => nil, "q9" => ["a", "c"], "q10" => false }))
same [["a", "c"], false], many.answers.transform_keys(&:to_s).values_at("q9", "q10")
same 2, many.answers.size

status, conflict = refused { save.(5, "mine", version: 1) }
same [409, "SESSION_CONFLICT"], [status, conflict["errorCode"]]
same many.answers, conflict["session"]["answers"]
same many.to_hash, SESSIONS.get_session(id).to_hash
status, missing = refused { SESSIONS.get_session(SecureRandom.uuid) }
same [404, "SESSION_NOT_FOUND"], [status, missing["errorCode"]]
items = SESSIONS.list_sessions(user_id: user, quiz_id: quiz).items
same [[id, quiz]], items.map { |item| [item.id, item.quiz_id] }

completed = SESSIONS.complete_session(id, complete_session: CompleteSession.new(answers: { "5" => "" }))
same ["completed", "learner"], [completed.status, completed.ended_by]
same "completed", SESSIONS.complete_session(id).status
status, late = refused { save.(5, "late") }
same [410, "SESSION_COMPLETED", ""], [status, late["errorCode"], late["session"]["answers"]["5"]]

# A teacher pauses, extends and resumes the session of a quiz, and reopens another one.
orders = OrdersApi.new
room = SecureRandom.uuid
other = SESSIONS.start_session(StartSession.new(user_id: user, quiz_id: room)).id
paused = orders.pause_session(other, SecureRandom.uuid, pause_session: PauseSession.new(reason: "fire alarm"))
same "paused", paused.status
status, refusal = refused { SESSIONS.update_progress(other, SaveAnswer.new(question_id: 1, answer: "x")) }
same [423, "SESSION_PAUSED", "paused"], [status, refusal["errorCode"], refusal["session"]["status"]]
more = ChangeDeadline.new(extra_seconds: 600)
extended = orders.change_deadline(other, more, idempotency_key: SecureRandom.uuid)
same 600, (extended.expires_at.to_time - paused.expires_at.to_time).round
report = orders.resume_sessions(SecureRandom.uuid, ResumeSessions.new(quiz_id: room))
same [1, false], [report.changed, report.unfinished]
types = SESSIONS.list_session_events(other).items.map(&:type)
same %w[session.started session.paused session.deadline_changed session.resumed], types
events = []
events = EventsApi.new.list_events(quiz_id: room, wait: 4).items while events.empty?
same ["session.started", other], [events[0].type, events[0].session_id]
again = ReopenSession.new(time_limit_seconds: 60, reason: "a mistake")
reopened = orders.reopen_session(id, SecureRandom.uuid, again)
same ["in_progress", nil], [reopened.status, reopened.ended_by]

short = SESSIONS.start_session(StartSession.new(user_id: user, quiz_id: "7", time_limit_seconds: 1))
same 7, short.quiz_id
sleep 1.2
status, expired = refused { SESSIONS.get_session(short.id) }
same [410, "SESSION_EXPIRED", "expired"], [status, expired["errorCode"], expired["session"]["status"]]
