"""Tokenizers and chat templates small enough to be made here, in the styles that models have."""

from collections.abc import Sequence
from typing import Any

CHATML = """
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for m in messages %}
{%- if m.role == "tool" %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ m.role }}
{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content or [] %}
{%- if part.type == "image" %}<|image|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}
{%- for call in m.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Blocks of a start token, a role and an end token."""

HEADERS = """<|begin|>
{%- for m in messages %}<|im_start|>{{ m.role }}<|image|>

{{ (m.content or "") | trim }}
{%- for call in m.tool_calls or [] %}{"name": "{{ call.function.name }}"}{% endfor %}<|im_end|>{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant<|image|>

{% endif %}"""
"""Headers, trimmed content, nothing after the end token."""

BRACKETS = """
{%- for m in messages %}
{%- if m.role == "assistant" %} {{ m.content or "" }}
{%- for call in m.tool_calls or [] %}[CALL]{{ call.function.name }}{% endfor %}<|im_end|>
{%- elif m.role == "tool" %}[RESULT]{{ m.content }}[/RESULT]
{%- else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"""
"""Brackets round what is told, and no header before the assistant's turn."""

FORGETFUL = """
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == "user" %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == "assistant" and loop.index0 < ns.last and "</think>" in (m.content or "") %}
{{- m.content.split("</think>")[-1] | trim }}{% else %}{{ m.content or "" }}{% endif %}
{%- for call in m.tool_calls or [] %}{{ call.function.name }}{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Drops the reasoning of earlier turns when a user speaks."""

HASTY = """
{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == "assistant" and loop.last and "</think>" not in m.content %}<think>

</think>

{% endif %}{{ m.content or "" }}
{%- for call in m.tool_calls or [] %}{{ call.function.name }}{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Shows a last turn without reasoning as one with empty reasoning, so that any turn changes when something follows."""

STRICT = """
{%- if messages[0].role == "system" %}{{ raise_exception("there is no system") }}{% endif %}
{%- for m in messages %}
{%- if (m.role == "user") != (loop.index0 % 2 == 0) %}{{ raise_exception("roles must alternate") }}{% endif %}
{#- -#}<|im_start|>{{ m.role }}
{{ m.content | trim }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Refuses a system's words, tools, and two messages of a role in a row."""

LATE = """
{%- set asked = messages | selectattr("role", "equalto", "user") | list %}
{%- for m in messages %}
{%- if m.role == "user" %}
{%- if tools and m == asked[-1] %}[TOOLS]{{ tools | tojson }}[/TOOLS]{% endif %}[INST]
{%- if loop.last and messages[0].role == "system" %}{{ messages[0].content }}
{% endif %}{{ m.content }}[/INST]
{%- elif m.tool_calls %}
{%- if m.tool_calls[0].id | length != 9 %}{{ raise_exception("ids have length 9") }}{% endif %}
{{- m.tool_calls | tojson }}<|im_end|>
{%- elif m.role == "assistant" %} {{ m.content }}<|im_end|>
{%- elif m.role == "tool" %}[RESULT]{{ m.content }}[/RESULT]{% endif %}
{%- endfor %}"""
"""Shows tools and the system's words with the last message of a user, wherever that is, and wants ids of length 9."""

PARTS = """
{%- for m in messages %}<|im_start|>{{ m.role }}
{% for part in m.content %}{{ "<|image|>" if part.type == "image" else part.text }}{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Takes content as a list of parts only, and shows nothing of a string."""

NAMED = """
{%- set ns = namespace(names={}) %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == "tool" %}{{ ns.names.get(m.tool_call_id) }}: {{ m.content | tojson }}
{%- else %}{{ m.content or "" }}{% endif %}
{%- for call in m.tool_calls or [] %}{{ call.function.name }}
{%- set ns.names = {call.id: call.function.name} %}{% endfor %}
{#- -#}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Says of which tool a result is by the call that it answers, and the result as JSON."""

DEAF = """
{%- for m in messages if m.role in ("user", "assistant") %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Leaves out tools and their results without a word."""

TEMPLATES = {"chatml": CHATML, "headers": HEADERS, "brackets": BRACKETS, "forgetful": FORGETFUL}
TEMPLATES |= {"hasty": HASTY, "strict": STRICT, "late": LATE, "parts": PARTS, "named": NAMED, "deaf": DEAF}
SPECIAL = ("<|begin|>", "<|im_start|>", "<|im_end|>", "<|image|>")


def trained(template: str, *, greedy: bool = False) -> Any:
    """A byte-level BPE tokenizer of `transformers`, trained on this file, with a chat template.

    Special tokens of a `greedy` one swallow the space after them, as Phi's do.
    """
    from pathlib import Path

    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [AddedToken(token, rstrip=greedy, special=True) for token in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(Path(__file__).read_text().splitlines(), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return tokenizer


def pieces(template: str) -> Any:
    """A tokenizer that writes a space before the first word of a text, as SentencePiece does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE(byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(special_tokens=list(SPECIAL), show_progress=False)
    inner.train_from_iterator(["".join(map(chr, range(33, 127))), "\n"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return tokenizer


class Bytes:
    """A tokenizer without a library: bytes, and a chat template in Python. Any object of this shape will do."""

    end = 256
    special = ("\x03",)

    def render(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, generation: bool) -> str:
        blocks = [f"\x02{m['role']}\n{m['content']}{m.get('tool_calls') or ''}\x03\n" for m in messages]
        return "".join(map(str, tools)) + "".join(blocks) + ("\x02assistant\n" if generation else "")

    def encode(self, text: str, *, plain: bool = False) -> tuple[Sequence[int], Sequence[int]]:
        ids, starts = [], []
        for at, character in enumerate(text):
            for byte in character.encode():
                ids.append(self.end if character == "\x03" and not plain else byte)
                starts.append(at)
        return ids, starts

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(b"\x03" if i == self.end else bytes((i,)) for i in ids).decode(errors="replace")
