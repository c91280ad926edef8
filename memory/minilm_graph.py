"""all-MiniLM-L6-v2 as an ONNX graph, built from the safetensors weights without torch.

The model is a BERT encoder (Devlin et al. 2018): word, position and token-type embeddings; six
layers of self-attention with twelve heads of 32 dimensions and a feed-forward part of 1,536, each
with a residual and a LayerNorm after it; then the mean over the real tokens, and L2 normalisation
(Reimers and Gurevych 2019, section 3).

    ids, mask: int64[batch, tokens]  ->  embeddings: float32[batch, 384]

The large weights stay outside the serialised graph: onnxruntime takes them by reference.
Serialising 90 MB through protobuf would cost a second at each start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

LAYERS: Final = 6
HEADS: Final = 12
HIDDEN: Final = 384
EPSILON: Final = 1e-12

_OPSET: Final = 20  # the first with Gelu
_IR_VERSION: Final = 10
_MICROSOFT: Final = (
    "com.microsoft"  # onnxruntime's own operators; `Attention` does a layer's heads in one call
)
_INLINE_LIMIT_BYTES: Final = 1024

Weights = Mapping[str, NDArray[np.float32]]


class MiniLmGraph:
    """`model` holds the operators, `external` the weights that it names but doesn't contain."""

    def __init__(self, weights: Weights) -> None:
        self.external: dict[str, NDArray[np.float32]] = {}
        self._weights = weights
        self._nodes: list[NodeProto] = []
        self._initializers: list[TensorProto] = []
        self.model = self._build()

    def _build(self) -> ModelProto:
        mask = self._add("Cast", ["mask"], "mask_int32", to=TensorProto.INT32)
        hidden = self._embeddings()
        for layer in range(LAYERS):
            hidden = self._layer(layer, hidden, mask)
        self._pooling(hidden)
        batch_tokens = ["batch", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            inputs=[
                helper.make_tensor_value_info(name, TensorProto.INT64, batch_tokens)
                for name in ("ids", "mask")
            ],
            outputs=[
                helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", HIDDEN])
            ],
            initializer=self._initializers,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def _embeddings(self) -> str:
        """Word + position + type; each token has type 0, so its row is folded into positions."""
        prefix = "embeddings."
        words = self._constant("words", self._weights[prefix + "word_embeddings.weight"])
        types = self._weights[prefix + "token_type_embeddings.weight"]
        table = self._weights[prefix + "position_embeddings.weight"] + types[0]
        word = self._add("Gather", [words, "ids"], "word")
        length = self._add("Shape", ["ids"], "length", start=1, end=2)
        first = self._constant("first", np.array([0], np.int64))
        position = self._add(
            "Slice", [self._constant("positions", table), first, length], "position"
        )
        return self._norm(self._add("Add", [word, position], "embedded"), prefix + "LayerNorm")

    def _layer(self, index: int, hidden: str, mask: str) -> str:
        prefix = f"encoder.layer.{index}."
        context = self._attention(prefix + "attention.self.", hidden, mask)
        projected = self._linear(context, prefix + "attention.output.dense")
        hidden = self._norm(
            self._add("Add", [projected, hidden], f"attended.{index}"),
            prefix + "attention.output.LayerNorm",
        )
        inner = self._linear(hidden, prefix + "intermediate.dense")
        active = self._add("Gelu", [inner], f"active.{index}")
        outer = self._linear(active, prefix + "output.dense")
        return self._norm(
            self._add("Add", [outer, hidden], f"fed.{index}"), prefix + "output.LayerNorm"
        )

    def _attention(self, prefix: str, hidden: str, mask: str) -> str:
        parts = ("query", "key", "value")
        weight = np.concatenate(
            [self._weights[f"{prefix}{part}.weight"].T for part in parts], axis=1
        )
        bias = np.concatenate([self._weights[f"{prefix}{part}.bias"] for part in parts])
        inputs = [
            hidden,
            self._constant(prefix + "weight", weight),
            self._constant(prefix + "bias", bias),
            mask,
        ]
        return self._add(
            "Attention", inputs, prefix + "context", domain=_MICROSOFT, num_heads=HEADS
        )

    def _pooling(self, hidden: str) -> None:
        """Mean over the real tokens; as it is normalised after, the sum gives the same vector."""
        real = self._add("Cast", ["mask"], "mask_float", to=TensorProto.FLOAT)
        last = self._constant("last_axis", np.array([2], np.int64))
        column = self._add("Unsqueeze", [real, last], "mask_column")
        kept = self._add("Mul", [hidden, column], "kept")
        token_axis = self._constant("token_axis", np.array([1], np.int64))
        total = self._add("ReduceSum", [kept, token_axis], "total", keepdims=0)
        self._add("LpNormalization", [total], "embeddings", axis=-1, p=2)

    def _linear(self, value: str, name: str) -> str:
        """`value @ weight.T + bias`; safetensors keeps torch's order, float32[out, in]."""
        weight = self._constant(name + ".weight", self._weights[name + ".weight"].T)
        product = self._add("MatMul", [value, weight], name + ".product")
        return self._add(
            "Add", [product, self._constant(name + ".bias", self._weights[name + ".bias"])], name
        )

    def _norm(self, value: str, name: str) -> str:
        scale, shift = (
            self._constant(f"{name}.{part}", self._weights[f"{name}.{part}"])
            for part in ("weight", "bias")
        )
        return self._add(
            "LayerNormalization", [value, scale, shift], name, axis=-1, epsilon=EPSILON
        )

    def _constant(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Put a weight into the graph: small ones by value, large ones by name only."""
        if value.nbytes <= _INLINE_LIMIT_BYTES:
            self._initializers.append(numpy_helper.from_array(value, name))
            return name
        tensor = TensorProto(
            name=name,
            dims=value.shape,
            data_type=TensorProto.FLOAT,
            data_location=TensorProto.EXTERNAL,
        )
        tensor.external_data.add(key="location", value=name)
        self._initializers.append(tensor)
        self.external[name] = np.ascontiguousarray(value, np.float32)
        return name

    def _add(
        self,
        operator: str,
        inputs: list[str],
        output: str,
        **attributes: Any,  # noqa: ANN401  # whatever the operator takes
    ) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output
