<?php
// OpenAPI Generator's php: php life.php URL
require '/usr/share/php/GuzzleHttp/autoload.php';
require_once '/usr/share/php/GuzzleHttp/Psr7/autoload.php';
spl_autoload_register(function ($class) {
    $file = __DIR__ . '/client/lib/' . str_replace('\\', '/', substr($class, strlen('OpenAPI\\Client\\'))) . '.php';
    if (str_starts_with($class, 'OpenAPI\\Client\\')) {
        require $file;
    }
});

use OpenAPI\Client\Api\EventsApi;
use OpenAPI\Client\Api\HealthApi;
use OpenAPI\Client\Api\OrdersApi;
use OpenAPI\Client\Api\SessionsApi;
use OpenAPI\Client\ApiException;
use OpenAPI\Client\Configuration;
use OpenAPI\Client\Model\ChangeDeadline;
use OpenAPI\Client\Model\CompleteSession;
use OpenAPI\Client\Model\PauseSession;
use OpenAPI\Client\Model\ReopenSession;
use OpenAPI\Client\Model\ResumeSessions;
use OpenAPI\Client\Model\SaveAnswer;
use OpenAPI\Client\Model\SaveAnswers;
use OpenAPI\Client\Model\StartSession;

function same($expected, $actual)
{
    if (json_decode(json_encode($expected), true) != json_decode(json_encode($actual), true)) {
        throw new Exception(json_encode($expected) . ' is not ' . json_encode($actual));
    }
}

function refused($call)
{
    try {
        $call();
    } catch (ApiException $error) {
        return [$error->getCode(), $error->getResponseObject()];
    }
    throw new Exception('not refused');
}

function uuid()
{
    return preg_replace('/(.{8})(.{4}).(.{3}).(.{3})(.{12})/', '$1-$2-4$3-8$4-$5', bin2hex(random_bytes(16)));
}

$configuration = (new Configuration())->setHost($argv[1]);
$http = new GuzzleHttp\Client();
$sessions = new SessionsApi($http, $configuration);
$user = 'php-' . uuid();
$quiz = uuid();
$drawing = ['row' => 2, 'points' => [0.5, 1, null], 'labels' => ['x' => []]];
same('healthy', (new HealthApi($http, $configuration))->getHealth()->getStatus());

$asked = new StartSession(
    ['user_id' => $user, 'quiz_id' => $quiz, 'time_limit_seconds' => 0, 'metadata' => ['course' => 'B12']]
);
[$started, $status] = $sessions->startSessionWithHttpInfo($asked, uuid());
same([201, $quiz, 0, null], [$status, $started->getQuizId(), $started->getCurrentQuestion(), $started->getExpiresAt()]);
$id = $started->getId();
$asked = new StartSession(['user_id' => $user, 'quiz_id' => $quiz, 'if_active' => 'resume']);
[$resumed, $status] = $sessions->startSessionWithHttpInfo($asked);
same([200, $id], [$status, $resumed->getId()]);

$save = fn($question, $answer, $more = []) => $sessions->updateProgress(
    $id,
    new SaveAnswer(['question_id' => $question, 'answer' => $answer] + $more)
);
$drawn = $save('q1_1', $drawing, ['annotation' => ['review' => true]]);
same([['q1_1' => $drawing], ['q1_1' => ['review' => true]]], [$drawn->getAnswers(), $drawn->getAnnotations()]);
$number = $save(3, 2.5);
same([2.5, 3], [$number->getAnswers()['3'], $number->getCurrentQuestion()]);
same(['q1_1' => $drawing], $save(3, null)->getAnswers());
$changes = ['q1_1' => null, 'q9' => ['a', 'c'], 'q10' => false];
$many = $sessions->saveAnswers($id, new SaveAnswers(['answers' => $changes]));
same(['q9' => ['a', 'c'], 'q10' => false], $many->getAnswers());

[$status, $conflict] = refused(fn() => $save(5, 'mine', ['version' => 1]));
same([409, 'SESSION_CONFLICT'], [$status, $conflict->getErrorCode()]);
same($many->getAnswers(), $conflict->getSession()->getAnswers());
same($many, $sessions->getSession($id));
[$status, $missing] = refused(fn() => $sessions->getSession(uuid()));
same([404, 'SESSION_NOT_FOUND'], [$status, $missing->getErrorCode()]);
$items = $sessions->listSessions($user, $quiz)->getItems();
same([[$id, $quiz]], array_map(fn($item) => [$item->getId(), $item->getQuizId()], $items));

$completed = $sessions->completeSession($id, null, null, null, new CompleteSession(['answers' => ['5' => '']]));
same(['completed', 'learner'], [$completed->getStatus(), $completed->getEndedBy()]);
same('completed', $sessions->completeSession($id)->getStatus());
[$status, $late] = refused(fn() => $save(5, 'late'));
same([410, 'SESSION_COMPLETED'], [$status, $late->getErrorCode()]);
same($many->getAnswers() + ['5' => ''], $late->getSession()->getAnswers());

// A teacher pauses, extends and resumes the session of a quiz, and reopens another one.
[$orders, $events] = [new OrdersApi($http, $configuration), new EventsApi($http, $configuration)];
$room = uuid();
$other = $sessions->startSession(new StartSession(['user_id' => $user, 'quiz_id' => $room]))->getId();
$paused = $orders->pauseSession($other, uuid(), null, null, new PauseSession(['reason' => 'fire alarm']));
same('paused', $paused->getStatus());
[$status, $refused] = refused(fn() => $sessions->updateProgress($other, new SaveAnswer(['question_id' => 1, 'answer' => 'x'])));
same([423, 'SESSION_PAUSED', 'paused'], [$status, $refused->getErrorCode(), $refused->getSession()->getStatus()]);
$extended = $orders->changeDeadline($other, new ChangeDeadline(['extra_seconds' => 600]), uuid());
same(600, $extended->getExpiresAt()->getTimestamp() - $paused->getExpiresAt()->getTimestamp());
$report = $orders->resumeSessions(uuid(), new ResumeSessions(['quiz_id' => $room]));
same([1, false], [$report->getChanged(), $report->getUnfinished()]);
$types = array_map(fn($line) => $line->getType(), $sessions->listSessionEvents($other)->getItems());
same(['session.started', 'session.paused', 'session.deadline_changed', 'session.resumed'], $types);
do {
    $items = $events->listEvents(null, null, $room, null, 4)->getItems();
} while (!$items);
same(['session.started', $other], [$items[0]->getType(), $items[0]->getSessionId()]);
$reopened = $orders->reopenSession($id, uuid(), new ReopenSession(['time_limit_seconds' => 60, 'reason' => 'a mistake']));
same(['in_progress', null], [$reopened->getStatus(), $reopened->getEndedBy()]);

$short = $sessions->startSession(new StartSession(['user_id' => $user, 'quiz_id' => '7', 'time_limit_seconds' => 1]));
same(7, $short->getQuizId());
usleep(1200000);
[$status, $expired] = refused(fn() => $sessions->getSession($short->getId()));
same([410, 'SESSION_EXPIRED'], [$status, $expired->getErrorCode()]);
same('expired', $expired->getSession()->getStatus());
