import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.ApiResponse;
import org.openapitools.client.api.EventsApi;
import org.openapitools.client.api.HealthApi;
import org.openapitools.client.api.OrdersApi;
import org.openapitools.client.api.SessionsApi;
import org.openapitools.client.model.*;

/** OpenAPI Generator's java with the library native: java Life URL. */
public class Life {
  interface Call {
    Object run() throws ApiException;
  }

  static final Map<String, Object> DRAWING = new HashMap<>();

  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(arguments[0]);
    SessionsApi sessions = new SessionsApi(client);
    String user = "java-" + UUID.randomUUID();
    String quiz = UUID.randomUUID().toString();
    DRAWING.put("row", 2);
    DRAWING.put("points", Arrays.asList(0.5, 1, null));
    DRAWING.put("labels", Map.of("", List.of()));
    same(HealthStatus.HEALTHY, new HealthApi(client).getHealth().getStatus());

    StartSession asked = new StartSession().userId(user).quizId(quiz).timeLimitSeconds(0);
    asked.setMetadata(Map.of("course", "B12"));
    ApiResponse<Session> started = sessions.startSessionWithHttpInfo(asked, user, null);
    Session session = started.getData();
    same(List.of(201, quiz, 0), List.of(started.getStatusCode(), session.getQuizId(), session.getCurrentQuestion()));
    same(null, session.getExpiresAt());
    UUID id = session.getId();
    asked = new StartSession().userId(user).quizId(quiz).ifActive(IfActive.RESUME);
    ApiResponse<Session> resumed = sessions.startSessionWithHttpInfo(asked, null, null);
    same(List.of(200, id), List.of(resumed.getStatusCode(), resumed.getData().getId()));

    Session drawn = save(sessions, id, new SaveAnswer().questionId("q1_1").answer(DRAWING).annotation(Map.of("review", true)));
    same(List.of(Map.of("q1_1", DRAWING), Map.of("q1_1", Map.of("review", true))), List.of(drawn.getAnswers(), drawn.getAnnotations()));
    Session number = save(sessions, id, new SaveAnswer().questionId(3).answer(2.5));
    same(List.of(2.5, 3), List.of(number.getAnswers().get("3"), number.getCurrentQuestion()));
    same(Map.of("q1_1", DRAWING), save(sessions, id, new SaveAnswer().questionId(3).answer(null)).getAnswers());
    Map<String, Object> changes = new HashMap<>(Map.of("q9", List.of("a", "c"), "q10", false));
    changes.put("q1_1", null);
    Session many = sessions.saveAnswers(id, new SaveAnswers().answers(changes), null, null, null, null);
    same(Map.of("q9", List.of("a", "c"), "q10", false), many.getAnswers());

    refused(409, "SESSION_CONFLICT", "\"q9\"", () -> save(sessions, id, new SaveAnswer().questionId(5).answer("mine").version(1)));
    same(many, sessions.getSession(id, null, null));
    refused(404, "SESSION_NOT_FOUND", "", () -> sessions.getSession(UUID.randomUUID(), null, null));
    List<Object> found = new ArrayList<>();
    for (SessionSummary item : sessions.listSessions(user, quiz, null, null, null, null, null).getItems()) {
      found.addAll(List.of(item.getId(), item.getQuizId()));
    }
    same(List.of(id, quiz), found);

    CompleteSession last = new CompleteSession().answers(Map.of("5", ""));
    Session completed = sessions.completeSession(id, null, null, null, last);
    same(List.of(SessionStatus.COMPLETED, EndedBy.LEARNER), List.of(completed.getStatus(), completed.getEndedBy()));
    same(completed, sessions.completeSession(id, null, null, null, null));
    refused(410, "SESSION_COMPLETED", "\"5\":\"\"", () -> save(sessions, id, new SaveAnswer().questionId(5).answer("late")));

    teach(client, sessions, user);
    ReopenSession again = new ReopenSession().timeLimitSeconds(60).reason("a mistake");
    Session reopened = new OrdersApi(client).reopenSession(id, "again", again, null, null);
    same(SessionStatus.IN_PROGRESS, reopened.getStatus());
    same(null, reopened.getEndedBy());

    Session ending = sessions.startSession(new StartSession().userId(user).quizId("7").timeLimitSeconds(1), null, null);
    same(7, ending.getQuizId());
    Thread.sleep(1200);
    refused(410, "SESSION_EXPIRED", "\"expired\"", () -> sessions.getSession(ending.getId(), null, null));
    System.exit(0);
  }

  /** Pauses, extends and resumes the session of a quiz as a teacher does, and reads the history and the feed. */
  static void teach(ApiClient client, SessionsApi sessions, String user) throws Exception {
    OrdersApi orders = new OrdersApi(client);
    String room = UUID.randomUUID().toString();
    UUID id = sessions.startSession(new StartSession().userId(user).quizId(room), null, null).getId();
    Session paused = orders.pauseSession(id, "pause", null, null, new PauseSession().reason("fire alarm"));
    same(SessionStatus.PAUSED, paused.getStatus());
    refused(423, "SESSION_PAUSED", "\"paused\"", () -> save(sessions, id, new SaveAnswer().questionId(1).answer("x")));
    Session extended = orders.changeDeadline(id, new ChangeDeadline().extraSeconds(600), "more", null, null);
    same(paused.getExpiresAt().plusSeconds(600), extended.getExpiresAt());
    OrderReport report = orders.resumeSessions("on", new ResumeSessions().quizId(room), null);
    same(List.of(1, false), List.of(report.getChanged(), report.getUnfinished()));
    List<String> types = new ArrayList<>();
    for (SessionEvent line : sessions.listSessionEvents(id, null, null).getItems()) types.add(line.getType());
    same(List.of("session.started", "session.paused", "session.deadline_changed", "session.resumed"), types);
    List<FeedEvent> items = List.of();
    while (items.isEmpty()) items = new EventsApi(client).listEvents(null, null, room, null, 4).getItems();
    same(List.of("session.started", id), List.of(items.get(0).getType(), items.get(0).getSessionId()));
  }

  static Session save(SessionsApi sessions, UUID id, SaveAnswer body) throws ApiException {
    return sessions.updateProgress(id, body, null, null, null, null);
  }

  static void same(Object expected, Object actual) {
    if (!Objects.equals(expected, actual)) throw new AssertionError(expected + " is not " + actual);
  }

  /** This client has no class for the body of an error, but its text; that of a 409 and a 410 has the session. */
  static void refused(int status, String code, String part, Call call) {
    try {
      call.run();
    } catch (ApiException error) {
      same(status, error.getCode());
      String body = error.getResponseBody().replace(" ", "");
      boolean complete = status == 404 || body.contains("\"session\":{");
      if (complete && body.contains(code) && body.contains(part)) return;
      throw new AssertionError(code + " is not in " + body);
    }
    throw new AssertionError("not refused");
  }
}
