"""The vision encoder in OpenVINO, as a worker (see README.md): the plain export's graph, converted as it is loaded."""

from importlib.metadata import version

import numpy as np
import openvino
from PIL import Image

from protocol import serve, timed

# The values of ImageNet, as in every Florence-2 preprocessor_config.json.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Worker:
    """A compiled graph and pixel values."""

    def load(self, model, threads, precision, side):
        def compiled():
            core = openvino.Core()
            graph = core.read_model(model)
            graph.reshape([1, 3, side, side])
            return core.compile_model(graph, "CPU", {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
            })

        model, seconds = timed(compiled)
        self.request = model.create_infer_request()
        return {"seconds": seconds, "versions": {"openvino": version("openvino")}}

    def prepare(self, image):
        """Reads an image of the model's size."""
        pixels = np.asarray(Image.open(image).convert("RGB"), np.float32) / 255
        self.pixels = np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1)[None])
        return {}

    def vision(self):
        output, seconds = timed(lambda: self.request.infer([self.pixels], share_inputs=True, share_outputs=True))
        return {"seconds": seconds, "norm": float(np.linalg.norm(output[0]))}


worker = Worker()
serve({name: getattr(worker, name) for name in ("load", "prepare", "vision")})
