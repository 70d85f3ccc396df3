"""The official `openai` client against the server: chat, streaming, n, logprobs, stop, completions, extensions, errors.

    cargo xtask serve --model MODEL [--reward-model REWARD_MODEL]
    python3 -m venv venv && venv/bin/pip install openai
    venv/bin/python janus-infer/tests/interop/openai_client.py http://127.0.0.1:8000/v1 [TOKEN]

Prints one line for each check, and exits with 1 at the first that fails.
"""

import concurrent.futures
import json
import sys
import urllib.request

import openai

BASE_URL = sys.argv[1]
TOKEN = sys.argv[2] if len(sys.argv) > 2 else "none"
MESSAGES = [
    {"role": "system", "content": "Answer in one short sentence."},
    {"role": "user", "content": "What is the capital of France?"},
]
PREFERENCES = [
    {"dimension": "style", "subdimension": "format", "preference": "brevity", "description": "Be brief."},
    {"dimension": "background_knowledge", "subdimension": "level", "preference": "novice", "description": "Use plain words."},
    {"dimension": "informativeness", "subdimension": "depth", "preference": "facts", "description": "Give the facts."},
    {"dimension": "harmlessness", "subdimension": "care", "preference": "kindness", "description": "Be kind."},
]

client = openai.OpenAI(base_url=BASE_URL, api_key=TOKEN, max_retries=0)
checks = 0


def check(what, holds, details=""):
    global checks
    checks += 1
    print("ok  " if holds else "FAIL", what, *([f"| {details!r}"] if details != "" else []))
    if not holds:
        sys.exit(1)


def refused(what, kind, status, param, **fields):
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 4} | fields
    try:
        client.chat.completions.create(**body)
    except openai.APIStatusError as error:
        got = (type(error) is kind, error.status_code, error.param)
        check(f"{what} is {kind.__name__}", got == (True, status, param), error.message)
    else:
        check(f"{what} is refused", False)


models = client.models.list().data
MODEL = models[0].id
check("models.list", len(models) == 1 and models[0].object == "model", MODEL)
check("models.retrieve", client.models.retrieve(MODEL) == models[0])

# Chat, whole and streamed.
common = dict(model=MODEL, messages=MESSAGES, max_tokens=24, seed=1)
whole = client.chat.completions.create(**common, temperature=0)
choice = whole.choices[0]
check("chat", choice.message.role == "assistant" and choice.finish_reason in ("stop", "length"), choice.message.content)
check("usage adds up", whole.usage.prompt_tokens + whole.usage.completion_tokens == whole.usage.total_tokens, whole.usage.total_tokens)

sampled = dict(common, temperature=0.9, top_p=0.95, n=3, logprobs=True, top_logprobs=2)
whole = client.chat.completions.create(**sampled)
texts = [choice.message.content for choice in whole.choices]
check("n samples that differ", len(texts) == 3 and len(set(texts)) > 1, texts)
again = client.chat.completions.create(**sampled)
check("the same seed gives the same answer", texts == [choice.message.content for choice in again.choices])

streamed, tokens, reasons, usage = ["", "", ""], [[], [], []], [None] * 3, None
for chunk in client.chat.completions.create(**sampled, stream=True, stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        streamed[choice.index] += choice.delta.content or ""
        tokens[choice.index] += choice.logprobs.content if choice.logprobs else []
        reasons[choice.index] = choice.finish_reason or reasons[choice.index]
check("streamed texts equal the whole ones", streamed == texts)
check("streamed log-probabilities too", tokens == [choice.logprobs.content for choice in whole.choices])
check("streamed finish reasons too", reasons == [choice.finish_reason for choice in whole.choices], reasons)
check("streamed usage too", usage == whole.usage, usage.completion_tokens)

first = whole.choices[0].logprobs.content[0]
check("a token has a log-probability", first.logprob <= 0 and len(first.top_logprobs) == 2, (first.token, first.logprob))
joined = b"".join(bytes(token.bytes) for token in whole.choices[0].logprobs.content if token.bytes)
check("the tokens' bytes form the text", joined.decode().startswith(texts[0]))

stopped = client.chat.completions.create(**dict(common, temperature=0, stop=[" is"])).choices[0]
check("a stop text ends the answer", " is" not in stopped.message.content and stopped.finish_reason == "stop", stopped.message.content)
extended = client.chat.completions.create(**common, extra_body={"top_k": 1, "repetition_penalty": 1.0, "min_p": 0.0})
greedy = client.chat.completions.create(**common, temperature=0, top_p=1, extra_body={"repetition_penalty": 1.0})
check("top_k = 1 is greedy", extended.choices[0].message.content == greedy.choices[0].message.content)

with client.chat.completions.stream(model=MODEL, messages=MESSAGES, max_tokens=100, temperature=0) as stream:
    final = stream.get_final_completion()
check("the client's stream helper accepts the stream", final.choices[0].message.content is not None, final.choices[0].message.content)

# Completions.
text = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=12, temperature=0, logprobs=1)
check("completion", text.object == "text_completion", text.choices[0].text)
check("its log-probabilities", len(text.choices[0].logprobs.tokens) == text.usage.completion_tokens)
pieces = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=12, temperature=0, stream=True)
check("streamed", "".join(piece.choices[0].text for piece in pieces) == text.choices[0].text)
check("of token ids", client.completions.create(model=MODEL, prompt=[1, 2, 3], max_tokens=2).usage.prompt_tokens == 3)

# Fields of vLLM and OpenAI that change what is sampled.


def greedy(**fields):
    answer = client.chat.completions.create(**dict(common, temperature=0, max_tokens=6) | fields)
    return answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage.completion_tokens


biased = {"300": 100}
repeated, reason, count = greedy(logit_bias=biased)
check("logit_bias", (reason, count) == ("length", 6) and repeated == repeated[: len(repeated) // 6] * 6, repeated)
check("stop_token_ids", greedy(logit_bias=biased, extra_body={"stop_token_ids": [300]}) == ("", "stop", 1))
held = greedy(logit_bias=biased, extra_body={"stop_token_ids": [300], "min_tokens": 3})
check("min_tokens", held[1:] == ("stop", 4), held)
check("ignore_eos", greedy(max_tokens=60, extra_body={"ignore_eos": True})[1:] == ("length", 60))
check("frequency_penalty", len(set(greedy(logit_bias={"300": 40, "301": 40}, frequency_penalty=2, max_tokens=12)[0])) > len(set(repeated)))
check("presence_penalty", greedy(logit_bias={"300": 30}, presence_penalty=2)[2] == 6)
echoed = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=12, temperature=0, echo=True)
check("echo", echoed.choices[0].text == "Once upon a time" + text.choices[0].text, echoed.choices[0].text)
counted = MESSAGES[1:] + [{"role": "assistant", "content": "The capital of France is"}]
continued = client.chat.completions.create(model=MODEL, messages=counted, max_tokens=6, temperature=0, extra_body={"continue_final_message": True, "add_generation_prompt": False})
check("continue_final_message", "Paris" in continued.choices[0].message.content, continued.choices[0].message.content)
refused("guided_json", openai.BadRequestError, 400, "guided_json", extra_body={"guided_json": {"type": "object"}})
refused("tools", openai.BadRequestError, 400, "tools", tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])

# Extensions.
preferred = client.chat.completions.create(
    model=MODEL, messages=MESSAGES[1:], max_tokens=24, seed=1, extra_body={"preferences": PREFERENCES}
)
check("the system message is composed from preferences", "brief" in preferred.system_message, preferred.system_message)
if models[0].reward_model:
    best = client.chat.completions.create(**common, extra_body={"best_of": 4})
    rewards = best.rewards
    check("best_of", len(rewards) == 4 and best.choices[0].reward == max(rewards), rewards)
else:
    refused("best_of without a reward model", openai.BadRequestError, 400, "best_of", extra_body={"best_of": 4})

# Errors.
refused("a wrong type", openai.BadRequestError, 400, "temperature", temperature="hot")
refused("a value out of range", openai.BadRequestError, 400, "top_p", top_p=2)
refused("an unknown role", openai.BadRequestError, 400, "messages[0].role", messages=[{"role": "nobody", "content": "x"}])
refused("an unknown model", openai.NotFoundError, 404, "model", model="gpt-4")
refused("a prompt beyond the context", openai.BadRequestError, 400, "messages", messages=[{"role": "user", "content": "word " * 50_000}])
refused("a body beyond the limit", openai.APIStatusError, 413, None, messages=[{"role": "user", "content": "x" * 2_000_000}])
if TOKEN != "none":
    try:
        client.with_options(api_key="wrong").models.list()
        check("a wrong token is refused", False)
    except openai.AuthenticationError as error:
        check("a wrong token is AuthenticationError", TOKEN not in str(error), error.message)

# Many requests at a time, and the server is healthy afterwards.


def answer(i):
    return client.chat.completions.create(**dict(common, seed=i % 4, max_tokens=8)).choices[0].message.content


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    answers = list(pool.map(answer, range(32)))
check("32 requests, 16 at a time: an answer depends only on its seed", all(a == answers[i % 4] for i, a in enumerate(answers)))
with urllib.request.urlopen(BASE_URL.removesuffix("/v1") + "/health") as health:
    check("health", json.load(health) == {"status": "ok"})
print(f"{checks} checks passed, openai {openai.__version__}, model {MODEL}")
