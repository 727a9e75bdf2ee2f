"""Vision encoders traced by torch.onnx at another image size than that of inference, as in published deployments."""

import io
from unittest import mock

import onnx
import torch
from onnx import numpy_helper
from transformers.models.florence2 import modeling_florence2 as florence2

# How the scale of channel attention, `N ** -0.5`, gets into the graph.
FORMS = {
    # Microsoft's code: the query times a number of Python's, frozen in one `Mul`.
    "original": "eager",
    # transformers' model: `sqrt(scale)` on query and on key, frozen in both.
    "sdpa": "sdpa",
    # transformers' model: computed from the shape.
    "eager": "eager",
}


def original_channel_attention(self, hidden_states):
    """Microsoft's `ChannelAttention.forward`."""
    batch, tokens, size = hidden_states.shape
    qkv = self.qkv(hidden_states).reshape(batch, tokens, 3, self.groups, size // self.groups)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    query = query * (float(tokens) ** -0.5)
    attention = (query.transpose(-1, -2) @ key).softmax(dim=-1)
    hidden_states = (attention @ value.transpose(-1, -2)).transpose(-1, -2)
    return self.proj(hidden_states.transpose(1, 2).reshape(batch, tokens, size))


class ImageFeatures(torch.nn.Module):
    """From pixels to the text encoder's image features."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model.get_image_features(pixel_values).pooler_output


def traced(folder, form, side):
    """The vision encoder of a checkpoint as an ONNX model, traced on `side` x `side` pixels."""
    model = florence2.Florence2ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=FORMS[form]
    ).eval()
    forward = florence2.Florence2VisionChannelAttention.forward
    if form == "original":
        forward = original_channel_attention
    file = io.BytesIO()
    with mock.patch.object(florence2.Florence2VisionChannelAttention, "forward", forward), torch.inference_mode():
        torch.onnx.export(
            ImageFeatures(model),
            (torch.zeros(1, 3, side, side),),
            file,
            dynamo=False,
            opset_version=14,
            input_names=["pixel_values"],
            output_names=["image_features"],
            dynamic_axes={
                "pixel_values": {0: "batch_size", 2: "height", 3: "width"},
                "image_features": {0: "batch_size", 1: "sequence_length"},
            },
        )
    return onnx.load_from_string(file.getvalue())


def scales(model):
    """The frozen scales of the channel attentions: constant factors of `Mul` nodes."""
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    nodes = [node for node in model.graph.node if node.op_type == "Mul" and "channel_attn" in node.name]
    return [float(constants[name]) for node in nodes for name in node.input if name in constants]
