import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The life of a session by Java's default HttpClient: java DefaultHttpClient.java URL. */
public class DefaultHttpClient {
    private static final Pattern ID = Pattern.compile("\"id\":\"([^\"]+)\"");

    public static void main(String[] arguments) throws Exception {
        String sessions = arguments[0] + "/api/sessions";
        String started = send("POST", sessions + "/start", "{\"user_id\": \"ada\", \"quiz_id\": 7}");
        Matcher id = ID.matcher(started);
        if (!id.find()) {
            throw new IllegalStateException(started);
        }
        String session = sessions + "/" + id.group(1);
        send("PUT", session + "/progress", "{\"question_id\": 1, \"answer\": \"by PUT\"}");
        send("PATCH", session + "/progress", "{\"answers\": {\"2\": \"by PATCH\"}}");
        send("POST", session + "/complete", "{\"answers\": {\"3\": \"at the end\"}}");
        System.out.println(send("GET", session, null));
    }

    /** Sends a request by a client of its own, whose first request offers h2c; prints the status. */
    private static String send(String method, String url, String body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
            .header("content-type", "application/json")
            .method(method, body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(body))
            .build();
        HttpResponse<String> response = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
        System.out.println(method + " " + response.version() + " " + response.statusCode());
        return response.body();
    }
}
