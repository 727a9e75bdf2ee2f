"""Compares the fused layout's text encoder and decoder step with transformers; used by `check_export.py`."""

import numpy as np
import onnxruntime as ort
import torch


class TextEncoder:
    def __init__(self, session):
        self.session = session
        self.names = [output.name for output in session.get_outputs()]

    def __call__(self, ids, features):
        """Hidden states, and the cross-attention caches under their `present` names."""
        outputs = dict(zip(self.names, self.session.run(None, {"input_ids": ids, "image_features": features})))
        return outputs.pop("last_hidden_state"), outputs


class DecoderStep:
    """The decoder's rows over KV caches that it writes in place."""

    def __init__(self, session, cross, encoder_lengths, rows, capacity, garbage):
        """`cross`: the text encoder's caches. `garbage`: the initial contents of the self-attention caches."""
        self.session = session
        self.lengths = np.zeros(rows, np.int32)
        self.binding = session.io_binding()
        self.binding.bind_output("logits")
        shapes = {value.name: value.shape for value in session.get_inputs()}
        for name, shape in shapes.items():
            present = name.replace("past_key_values", "present")
            if ".decoder." in name:
                values = np.full((rows, shape[1], capacity, shape[3]), garbage, np.float32)
                cache = ort.OrtValue.ortvalue_from_numpy(values)
                self.binding.bind_ortvalue_input(name, cache)
                self.binding.bind_ortvalue_output(present, cache)
            elif ".encoder." in name:
                self.bind(name, cross[present])
        self.bind("encoder_sequence_lengths", np.array(encoder_lengths, np.int32))

    def bind(self, name, values):
        self.binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values)))

    def __call__(self, ids):
        """Logits after the last of the new tokens `ids`, `[rows, tokens]`."""
        self.bind("input_ids", ids)
        self.bind("past_sequence_lengths", self.lengths)
        self.session.run_with_iobinding(self.binding)
        self.lengths = self.lengths + np.int32(ids.shape[1])
        return self.binding.get_outputs()[0].numpy()


class StepChecker:
    """`same(what, ours, theirs)` judges each comparison. `on_device`: whether the graphs are those for caches on a device,
    which take several tokens of one row only."""

    GARBAGE = 1e4

    def __init__(self, model, encoder, decoder, same, random, on_device):
        self.model = model
        self.text = model.config.text_config
        self.encoder = TextEncoder(encoder)
        self.decoder = decoder
        self.same = same
        self.on_device = on_device
        self.random = random

    def ids(self, *shape):
        return self.random.integers(0, self.text.vocab_size, shape)

    @torch.no_grad()
    def run(self, features):
        """`features`: of two images."""
        prompts = [self.ids(1, 7), self.ids(1, 4)]
        encoded = [self.encode(ids, features[i : i + 1]) for i, ids in enumerate(prompts)]
        self.encode(self.ids(2, 5), features)
        self.images_of_different_lengths(encoded)
        self.rows_of_different_lengths(encoded[0])
        self.several_tokens_over_a_past(encoded[1])

    def encode(self, ids, features):
        states, caches = self.encoder(ids, features)
        language_model = self.model.model.language_model
        embeddings = self.model.get_input_embeddings()(torch.from_numpy(ids))
        inputs = torch.cat([torch.from_numpy(features), embeddings], 1)
        expected = language_model.encoder(inputs_embeds=inputs).last_hidden_state
        self.same("text_encoder states", states, expected)
        heads = self.text.decoder_attention_heads
        for index, layer in enumerate(language_model.decoder.layers):
            for kind, projection in (("key", layer.encoder_attn.k_proj), ("value", layer.encoder_attn.v_proj)):
                cache = projection(expected).unflatten(2, (heads, -1)).transpose(1, 2)
                self.same("text_encoder caches", caches[f"present.{index}.encoder.{kind}"], cache)
        return expected, caches

    def logits(self, history, states):
        """torch's logits after a row's whole history, without a cache."""
        decoder = self.model.model.language_model.decoder
        hidden = decoder(input_ids=torch.from_numpy(history)[None], encoder_hidden_states=states).last_hidden_state
        return self.model.lm_head(hidden[:, -1])[0]

    def compare(self, what, logits, histories, states):
        expected = [self.logits(history, state) for history, state in zip(histories, states)]
        self.same(what, logits, torch.stack(expected))

    def images_of_different_lengths(self, encoded):
        """Three beams of each of two images, the shorter one's caches padded with garbage."""
        beams = 3
        lengths = [states.shape[1] for states, _ in encoded]
        longest = max(lengths)
        pad = lambda cache: np.pad(
            cache, ((0, 0), (0, 0), (0, longest - cache.shape[2]), (0, 0)), constant_values=self.GARBAGE
        )
        cross = {name: np.concatenate([pad(caches[name]) for _, caches in encoded]) for name in encoded[0][1]}
        rows = beams * len(encoded)
        decoder = DecoderStep(self.decoder, cross, lengths, rows, 12, self.GARBAGE)
        states = [states for states, _ in encoded for _ in range(beams)]
        # Two tokens at first, as where the second is forced.
        history = self.ids(rows, 1 if self.on_device else 2)
        new = history
        for _ in range(5):
            self.compare("decoder_step images", decoder(new), history, states)
            new = self.ids(rows, 1)
            history = np.concatenate([history, new], 1)

    def rows_of_different_lengths(self, encoded):
        """Rows that continue from different positions, over caches that hold more tokens."""
        states, cross = encoded
        history = self.ids(4, 6)
        decoder = DecoderStep(self.decoder, cross, [states.shape[1]], 4, 9, self.GARBAGE)
        for new in history.T[:, :, None] if self.on_device else [history]:
            decoder(np.ascontiguousarray(new))
        decoder.lengths = np.array([0, 3, 6, 1], np.int32)
        histories = [row[:length] for row, length in zip(history, decoder.lengths)]
        for _ in range(3):
            new = self.ids(4, 1)
            histories = [np.concatenate(both) for both in zip(histories, new)]
            self.compare("decoder_step lengths", decoder(new), histories, [states] * 4)

    def several_tokens_over_a_past(self, encoded):
        states, cross = encoded
        history = self.ids(1, 7)
        decoder = DecoderStep(self.decoder, cross, [states.shape[1]], 1, 8, self.GARBAGE)
        for start, end in ((0, 3), (3, 4), (4, 7)):
            self.compare("decoder_step tokens", decoder(history[:, start:end]), history[:, :end], [states])
