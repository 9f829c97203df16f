"""What comes in and what goes out, as Pydantic models."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import UUID4, AfterValidator, BaseModel, ConfigDict, Field, model_validator

MAX_INTEGER = 2**31 - 1


def _in_range(key: str) -> str:
    if int(key) > MAX_INTEGER:
        raise ValueError("has to be a question id")
    return key


UserId = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
QuizId = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
QuestionId = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
QuestionKey = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,9})$"), AfterValidator(_in_range)]
Version = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
AnswerText = Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]
Answer = AnswerText | Annotated[list[AnswerText], Field(min_length=1, max_length=100)]
Changes = Annotated[dict[QuestionKey, Answer | None], Field(min_length=1, max_length=500)]
Status = Literal["in_progress", "completed", "expired"]


class Input(BaseModel):
    """A body: nothing is converted, and an unknown field is an error."""

    model_config = ConfigDict(strict=True, extra="forbid")


class StartSession(Input):
    """What a new attempt needs."""

    user_id: UserId
    quiz_id: QuizId
    time_limit_seconds: Annotated[int, Field(ge=1, le=30 * 24 * 3600)] = 1800


class SaveAnswer(Input):
    """One answer to save, or to clear."""

    question_id: QuestionId
    answer: Answer | None
    version: Version | None = None


class SaveAnswers(Input):
    """Answers to save in one step."""

    answers: Changes
    current_question: QuestionId | None = None
    version: Version | None = None


class CompleteSession(Input):
    """What to save in the step that ends the attempt."""

    answers: Changes | None = None
    version: Version | None = None


class Filter(BaseModel):
    """Which sessions to list."""

    model_config = ConfigDict(extra="forbid")

    user_id: UserId | None = None
    quiz_id: QuizId | None = None
    status: Status | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: UUID4 | None = None


class SessionSummary(BaseModel):
    """A session in a list."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    user_id: str
    quiz_id: int
    current_question: int
    status: Status
    started_at: datetime
    expires_at: datetime
    last_saved_at: datetime
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @model_validator(mode="after")
    def _expire(self) -> Self:
        """Show `expired` from the moment the time is over, whatever the stores say."""
        if self.status == "in_progress" and self.expires_at <= datetime.now(UTC):
            self.status = "expired"
        return self


class Session(SessionSummary):
    """A session with its answers."""

    answers: dict[str, str | list[str]]
    version: int


class SessionPage(BaseModel):
    """Some sessions, and where the next ones start."""

    items: list[SessionSummary]
    next_cursor: UUID | None
