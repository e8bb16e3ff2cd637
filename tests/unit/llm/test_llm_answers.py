import json

import pytest

from actors.llm import answers, errors
from tests.fakes.llm_captures import status_type_body

AT = answers.Endpoint("http://localhost:8000/v1", "tiny", "EARSHOT_LLM_API_KEY")


def error_of(capture: str) -> errors.LlmError:
    return answers.error_from_answer(*status_type_body(capture), AT)


@pytest.mark.parametrize(
    ("capture", "kind"),
    [
        ("vllm/err_wrong_model_stream.resp", errors.ModelNotFound),
        ("vllm/err_prompt_too_long_stream.resp", errors.PromptTooLong),
        ("vllm/err_two_users_stream.resp", errors.TemplateRefusal),
        ("vllm/err_assistant_first.resp", errors.TemplateRefusal),
        ("vllm/err_malformed_json.resp", errors.RequestRefused),
        ("vllm/err_max_tokens_0.resp", errors.PromptTooLong),
        ("vllm/err_max_tokens_too_large.resp", errors.RequestRefused),
        ("vllm/key_missing.resp", errors.Unauthorized),
        ("vllm/key_wrong.resp", errors.Unauthorized),
        ("vllm/get_notfound.resp", errors.NotAChatServer),
        ("llamacpp/err_two_users.resp", errors.TemplateRefusal),
    ],
)
def test_each_captured_answer_is_the_error_that_it_means(capture: str, kind: type[errors.LlmError]) -> None:
    assert type(error_of(capture)) is kind


def test_a_wrong_model_name_is_answered_with_the_names_that_are_served() -> None:
    error = error_of("vllm/err_wrong_model_stream.resp")
    assert isinstance(error, errors.ModelNotFound)
    assert error.served == ("tiny",)
    assert "it serves tiny; set llm.model" in str(error)


def test_a_refused_key_names_the_environment_variable() -> None:
    assert "$EARSHOT_LLM_API_KEY" in str(error_of("vllm/key_wrong.resp"))


def test_a_web_page_instead_of_a_reply_is_called_one() -> None:
    error = answers.error_from_answer(200, "text/html", "<html><body>Welcome to nginx!", AT)
    assert type(error) is errors.NotAChatServer
    assert "a web page" in str(error)


def test_a_web_page_with_a_server_error_is_no_refusal_of_the_request() -> None:
    assert type(answers.error_from_answer(502, "text/html", "<html>Bad Gateway", AT)) is errors.ServerUnavailable
    assert type(answers.error_from_answer(500, "text/html", "<html>Oops", AT)) is errors.ServerTrouble
    assert type(answers.error_from_answer(404, "text/html", "<html>Not Found", AT)) is errors.NotAChatServer


def test_a_server_that_took_too_long_has_no_prompt_that_is_too_long() -> None:
    body = json.dumps({"error": {"message": "the upstream took too long"}})
    assert type(answers.error_from_answer(504, "application/json", body, AT)) is errors.ServerUnavailable


def test_a_redirect_is_not_followed_but_told() -> None:
    assert "redirects" in str(answers.error_from_answer(307, "text/html", "", AT))


def test_an_unknown_model_of_a_server_that_words_it_otherwise_is_recognised() -> None:
    body = json.dumps({"error": {"message": 'model "mistral" not found, try pulling it first', "code": None}})
    assert type(answers.error_from_answer(404, "application/json", body, AT)) is errors.ModelNotFound


def test_an_error_inside_an_answer_of_status_200_is_an_error() -> None:
    body = json.dumps({"error": {"message": "out of memory", "code": 500}})
    assert type(answers.error_from_answer(200, "application/json", body, AT)) is errors.ServerTrouble


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
def test_errors_are_one_line_of_bounded_length(status: int) -> None:
    body = json.dumps({"detail": "line one\nline two " + "x" * 10_000})
    text = str(answers.error_from_answer(status, "application/json", body, AT))
    assert "\n" not in text
    assert len(text) < 500


def test_what_was_said_is_not_repeated_by_an_error() -> None:
    said = "my password is swordfish"
    quoting = (
        {"error": {"message": f"cannot process '{said}' now", "code": 400, "type": "Bad Request"}},
        {"error": {"message": f"1 validation error: Field required [type=missing, input_value={{'content': '{said[:14]}"}},
        {"error": {"message": "1 error:\n {'loc': 'body', 'input': '" + said[:14]}},
        {"detail": [{"loc": ["body", "messages"], "msg": "Field required", "input": said}]},
    )
    for body in quoting:
        assert "password" not in str(answers.error_from_answer(400, "application/json", json.dumps(body), AT, [said]))


def test_what_was_said_is_not_repeated_though_the_role_was_folded_before_it() -> None:
    body = json.dumps({"error": {"message": "cannot process: my password is swordfish"}})
    error = answers.error_from_answer(500, "application/json", body, AT, ["You are kind.\n\nmy password is swordfish"])
    assert "(500: cannot process: […])" in str(error)


def test_a_short_word_that_was_said_does_not_spoil_the_words_of_the_server() -> None:
    body = json.dumps({"error": {"message": "Nothing now, no memory"}})
    assert "Nothing now, […] memory" in str(answers.error_from_answer(500, "application/json", body, AT, ["no"]))


def test_a_validation_fault_keeps_its_place_and_its_message() -> None:
    body = json.dumps({"detail": [{"loc": ["body", "max_tokens"], "msg": "must be a number", "input": "x"}]})
    assert "body.max_tokens: must be a number" in str(answers.error_from_answer(422, "application/json", body, AT))
