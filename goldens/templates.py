"""Chat templates rendered and tokenised by transformers.

The templates are written for these tests, in the style of those that models ship with; two are the workspace's own.
"""
import json

import jinja2
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

LLAMA3 = r"""{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set lead = messages[0]['content'] | trim %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set lead = "" %}
    {%- set turns = messages %}
{%- endif %}
{#- The system part is always there. #}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Tools: " + tools | tojson + "\n" }}
{%- endif %}
{{- "Knowledge: up to a day.\n\n" + lead + "<|eot_id|>" }}
{%- for turn in turns %}
    {%- if not (turn.role == 'user' or turn.role == 'assistant') %}
        {{- raise_exception("No such role here: " + turn.role) }}
    {%- endif %}
    {{- '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\n\n' + turn['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""

ZEPHYR = r"""{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{% generation %}
{{ '<|assistant|>\n' + message['content'] + eos_token }}
{% endgeneration %}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

GEMMA = (
    r"{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('A system message has no place here') }}{% endif %}"
    r"{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    r"{{ raise_exception('User and assistant take turns') }}{% endif %}"
    r"{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)

MISTRAL = r"""{%- set ns = namespace(system=none, turn=0) -%}
{%- for message in messages if message.role == "system" -%}
  {%- set ns.system = message.content -%}
{%- endfor -%}
{{ bos_token }}
{%- for message in messages -%}
  {%- if message.role == "system" -%}{%- continue -%}{%- endif -%}
  {%- if message.role == "user" -%}
    {%- if loop.last and ns.system is not none and ns.system | length > 0 -%}
      {{ "[INST] " ~ ns.system ~ "\n\n" ~ message.content ~ " [/INST]" }}
    {%- else -%}
      {{ "[INST] " ~ message.content ~ " [/INST]" }}
    {%- endif -%}
  {%- else -%}
    {{ " " + message["content"].strip() + eos_token }}
  {%- endif -%}
  {%- set ns.turn = ns.turn + 1 -%}
{%- endfor -%}
"""

# Rarely used features of templates in one template. It ends with a newline, which Jinja drops.
KITCHEN = r"""{% macro turn(role, text, end=eos_token) -%}
    <|{{ role }}|>{{ text }}{{ end }}
{%- endmacro %}
{% set names = {'user': 'Human', 'assistant': 'Bot', "system": "Note"} %}
Flags: {{ add_generation_prompt }} {{ none }} {{ not add_generation_prompt }} {{ unknown }}|{{ unknown is defined }}
    {% for message in messages %}
        {%- if loop.index0 == 7 %}{% break %}{% endif %}
        {{- turn(names[message.role] | upper, message.content.split('</think>')[-1].lstrip()) }}
        {%- if 'kite' in message.content and message.content.startswith('a') %} (a kite){% endif %}
    {% endfor %}
{{ messages[-1] | tojson }} {{ tools is iterable }} {{ 'x' is iterable }} {{ messages is iterable }} {{ 1 is iterable }} {{ unknown is iterable }}
{{ {"b": [1, 2.5, none], "a": {"ä": true, "<&'>": "\n"}} | tojson(indent=2) }}
{{ messages | map(attribute='role') | join(', ') }}; {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ messages[0].get('name', 'nobody') }}, {{ '-' * 3 }}, {{ messages | length > 1 and 'many' or 'one' }}, {{ "%s" | format("x") }}
{% for key, value in names.items() %}{{ key }}={{ value.lower().replace('o', '0') }}{{ ";" if not loop.last }}{% endfor %}

{{- " end " | trim }}
"""

# The workspace's two, as a checkpoint's tokenizer_config.json has them.
MISTRAL_INSTRUCT = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% if message['content'] %}{% set ns.system = message['content'] + '\n' %}{% endif %}"
    "{% elif message['role'] == 'user' %}{{ '[INST] ' + (ns.system + message['content']) | trim + ' [/INST]' }}{% set ns.system = '' %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TEMPLATES = {
    "llama3": (LLAMA3, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
    "zephyr": (ZEPHYR, {"bos_token": "<s>", "eos_token": "</s>"}),
    "gemma": (GEMMA, {"bos_token": "<bos>", "eos_token": "<eos>"}),
    "mistral": (MISTRAL, {"bos_token": "<s>", "eos_token": "</s>"}),
    "kitchen": (KITCHEN, {"bos_token": "<s>", "eos_token": "</s>"}),
    "mistral-instruct": (MISTRAL_INSTRUCT, {"bos_token": "<s>", "eos_token": "</s>"}),
    "chatml": (CHATML, {"bos_token": "<s>", "eos_token": "</s>"}),
}
SPECIAL = [
    "<s>", "</s>", "<bos>", "<eos>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|user|>",
    "<|system|>", "<|assistant|>", "<start_of_turn>", "<end_of_turn>",
]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


CONVERSATIONS = [
    [user("What is a kite?")],
    [system("Be brief."), user("What is a kite?")],
    [user("a kite\n"), assistant("  A toy. "), user("\tand \"then\"?\n\n")],
    [system("  Ä système of 3 <b>words</b> & 'more'\n"), user("日本語 ok?"), assistant("Ja.\nNein.")],
    [system(""), user("x"), assistant("<think>hm</think>\n yes"), user(" y ")],
    [user("one"), user("two")],
    [user("{{ bos_token }}{% if x %}"), assistant("\\n")],
    [system("Be brief.\nBe kind."), user("one"), assistant("1"), user("two"), assistant("2"), user("three")],
    [user("one"), assistant("1"), user("two"), assistant("2")],
]


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({piece: at for at, piece in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return tokenizer


def metaspace():
    """A space is prepended to a text, but not after a special token; one special token strips the spaces after it."""
    pieces = ["<unk>", "▁"] + [f"<0x{byte:02X}>" for byte in range(256)] + [chr(at) for at in range(33, 127)] + ["▁a"]
    tokenizer = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, [("▁", "a")], byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [AddedToken(token, normalized=False, special=True, rstrip=token == "<|eot_id|>") for token in SPECIAL]
    tokenizer.add_special_tokens(special)
    return tokenizer


def make(folder):
    tokenizers = {"byte_level": byte_level(), "metaspace": metaspace()}
    cases = []
    for name, (text, tokens) in TEMPLATES.items():
        fast = {kind: PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens) for kind, tokenizer in tokenizers.items()}
        for at, conversation in enumerate(CONVERSATIONS):
            prompt = conversation[-1]["role"] == "user"
            case = {"template": name, "conversation": at}
            try:
                options = {"chat_template": text, "tokenize": False, "add_generation_prompt": prompt}
                case["text"] = fast["byte_level"].apply_chat_template(conversation, **options)
                case["ids"] = {kind: f(case["text"], add_special_tokens=False).input_ids for kind, f in fast.items()}
            except jinja2.TemplateError as error:
                case["error"] = str(error)
            cases.append(case)
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    templates = {name: {"text": text, "tokens": tokens} for name, (text, tokens) in TEMPLATES.items()}
    parts = [f' "tokenizers": {json.dumps({kind: json.loads(tokenizer.to_str()) for kind, tokenizer in tokenizers.items()})}']
    parts += [f' "templates": {json.dumps(templates)}', f' "conversations": {json.dumps(CONVERSATIONS)}']
    (folder / "templates.json").write_text("{\n" + ",\n".join(parts) + ',\n "cases": [\n' + lines + "\n ]\n}\n")
