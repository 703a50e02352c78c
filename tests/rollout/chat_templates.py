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

TEMPLATES = {"chatml": CHATML, "headers": HEADERS, "brackets": BRACKETS, "forgetful": FORGETFUL}
SPECIAL = ("<|begin|>", "<|im_start|>", "<|im_end|>", "<|image|>")


def trained(template: str) -> Any:
    """A byte-level BPE tokenizer of `transformers`, trained on this file, with a chat template."""
    from pathlib import Path

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(Path(__file__).read_text().splitlines(), trainer)
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
