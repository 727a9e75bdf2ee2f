//! A tiny Florence-2 checkpoint in memory, for tests to modify.

pub mod graph_bytes;

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};

pub const IMAGE_SIZE: u32 = 48;

#[derive(Clone)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

#[derive(Clone)]
pub struct TinyModel {
    pub config: Value,
    pub tensors: BTreeMap<String, Tensor>,
}

/// Returns a checkpoint with the names of transformers' `Florence2ForConditionalGeneration.state_dict()`.
pub fn native() -> TinyModel {
    let config = json!({
        "model_type": "florence2",
        "text_config": {
            "model_type": "bart", "vocab_size": 30, "d_model": 12, "encoder_layers": 1, "decoder_layers": 2,
            "encoder_attention_heads": 3, "decoder_attention_heads": 2, "encoder_ffn_dim": 10,
            "decoder_ffn_dim": 14, "max_position_embeddings": 64, "activation_function": "gelu",
        },
        "vision_config": {
            "model_type": "florence_vision", "embed_dim": [8, 12], "depths": [1, 2], "num_heads": [2, 3],
            "num_groups": [2, 4], "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1],
            "patch_prenorm": [false, true], "window_size": 4, "mlp_ratio": 2.0, "projection_dim": 12,
            "max_position_embeddings": 7, "max_temporal_embeddings": 3,
        },
    });
    let mut model = TinyModel {
        config,
        tensors: BTreeMap::new(),
    };
    model.add_vision_tower();
    model.add_language_model();
    model
}

/// Returns the same weights and dimensions in the form of Microsoft's repositories.
pub fn microsoft() -> TinyModel {
    let native = native();
    let mut tensors = BTreeMap::new();
    for (name, tensor) in native.tensors {
        let tensor = if name.ends_with("image_projection.weight") {
            transposed(&tensor)
        } else {
            tensor
        };
        tensors.insert(microsoft_name(&name), tensor);
    }
    let mut config = native.config;
    let vision = config["vision_config"].as_object_mut().unwrap();
    let dims = vision.remove("embed_dim").unwrap();
    vision.insert("dim_embed".into(), dims);
    let positions = vision.remove("max_position_embeddings").unwrap();
    vision.insert(
        "image_pos_embed".into(),
        json!({ "type": "learned_abs_2d", "max_pos_embeddings": positions }),
    );
    let frames = vision.remove("max_temporal_embeddings").unwrap();
    vision.insert(
        "visual_temporal_embedding".into(),
        json!({ "type": "COSINE", "max_temporal_embeddings": frames }),
    );
    vision.insert(
        "image_feature_source".into(),
        json!(["spatial_avg_pool", "temporal_avg_pool"]),
    );
    vision.insert("model_type".into(), json!("davit"));
    config["text_config"]["model_type"] = json!("florence2_language");
    TinyModel { config, tensors }
}

/// The inverse of the name table of transformers' conversion script.
fn microsoft_name(native: &str) -> String {
    const TABLE: [(&str, &str); 16] = [
        ("model.vision_tower.", "vision_tower."),
        (".conv.", ".proj."),
        (".window_attn.", ".window_attn.fn."),
        (".channel_attn.", ".channel_attn.fn."),
        (".spatial_block.norm1.", ".spatial_block.window_attn.norm."),
        (".channel_block.norm1.", ".channel_block.channel_attn.norm."),
        (".ffn.fc", ".ffn.fn.net.fc"),
        (".norm2.", ".ffn.norm."),
        (".conv1.", ".conv1.fn.dw."),
        (".conv2.", ".conv2.fn.dw."),
        (
            "model.multi_modal_projector.image_projection.weight",
            "image_projection",
        ),
        (
            "model.multi_modal_projector.image_position_embed.",
            "image_pos_embed.",
        ),
        ("model.multi_modal_projector.", ""),
        ("model.language_model.", "language_model.model."),
        ("lm_head.", "language_model.lm_head."),
        ("final_logits_bias", "language_model.final_logits_bias"),
    ];
    TABLE.iter().fold(native.to_owned(), |name, (from, to)| {
        match name.contains(to) && to.contains(from) {
            true => name,
            false => name.replace(from, to),
        }
    })
}

fn transposed(tensor: &Tensor) -> Tensor {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    let value = |index: usize| tensor.values[index % rows * columns + index / rows];
    Tensor {
        shape: vec![columns, rows],
        values: (0..rows * columns).map(value).collect(),
    }
}

impl TinyModel {
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        let name = name.into();
        let len: usize = shape.iter().product();
        // Different for every tensor and value, and exact in f16 and bf16.
        let seed = name.bytes().fold(17u64, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        });
        let value = |index: u64| ((seed ^ (index * 0x9e37_79b9)) % 127) as f32 / 64.0 - 1.0;
        let values = (0..len as u64).map(value).collect();
        self.tensors.insert(
            name,
            Tensor {
                shape: shape.to_vec(),
                values,
            },
        );
    }

    fn add_linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.add(format!("{name}.weight"), &[outputs, inputs]);
        self.add(format!("{name}.bias"), &[outputs]);
    }

    fn add_norm(&mut self, name: &str, dim: usize) {
        self.add(format!("{name}.weight"), &[dim]);
        self.add(format!("{name}.bias"), &[dim]);
    }

    fn add_vision_tower(&mut self) {
        let tower = "model.vision_tower";
        for (stage, (input, dim, kernel, depth)) in [(3, 8, 7, 1), (8, 12, 3, 2)].into_iter().enumerate() {
            self.add(
                format!("{tower}.convs.{stage}.conv.weight"),
                &[dim, input, kernel, kernel],
            );
            self.add(format!("{tower}.convs.{stage}.conv.bias"), &[dim]);
            self.add_norm(
                &format!("{tower}.convs.{stage}.norm"),
                if stage == 0 { dim } else { input },
            );
            for block in 0..depth {
                for (kind, attention) in [
                    ("spatial_block", "window_attn"),
                    ("channel_block", "channel_attn"),
                ] {
                    let block = format!("{tower}.blocks.{stage}.{block}.{kind}");
                    for part in ["1", "2"] {
                        self.add(format!("{block}.conv{part}.weight"), &[dim, 1, 3, 3]);
                        self.add(format!("{block}.conv{part}.bias"), &[dim]);
                        self.add_norm(&format!("{block}.norm{part}"), dim);
                    }
                    self.add_linear(&format!("{block}.{attention}.qkv"), dim, 3 * dim);
                    self.add_linear(&format!("{block}.{attention}.proj"), dim, dim);
                    self.add_linear(&format!("{block}.ffn.fc1"), dim, 2 * dim);
                    self.add_linear(&format!("{block}.ffn.fc2"), 2 * dim, dim);
                }
            }
        }
        let projector = "model.multi_modal_projector";
        // The matrix is square, so that only its values show whether it was transposed.
        self.add(format!("{projector}.image_projection.weight"), &[12, 12]);
        self.add_norm(&format!("{projector}.image_proj_norm"), 12);
        self.add(
            format!("{projector}.image_position_embed.row_embeddings.weight"),
            &[7, 6],
        );
        self.add(
            format!("{projector}.image_position_embed.column_embeddings.weight"),
            &[7, 6],
        );
        self.add(
            format!("{projector}.visual_temporal_embed.pos_idx_to_embed"),
            &[3, 12],
        );
    }

    fn add_language_model(&mut self) {
        self.add("model.language_model.shared.weight", &[30, 12]);
        for (side, layers, hidden) in [("encoder", 1, 10), ("decoder", 2, 14)] {
            let side_name = format!("model.language_model.{side}");
            self.add(format!("{side_name}.embed_positions.weight"), &[66, 12]);
            self.add_norm(&format!("{side_name}.layernorm_embedding"), 12);
            for layer in 0..layers {
                let layer = format!("{side_name}.layers.{layer}");
                let attentions: &[&str] = if side == "encoder" {
                    &["self_attn"]
                } else {
                    &["self_attn", "encoder_attn"]
                };
                for attention in attentions {
                    for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                        self.add_linear(&format!("{layer}.{attention}.{projection}"), 12, 12);
                    }
                    self.add_norm(&format!("{layer}.{attention}_layer_norm"), 12);
                }
                self.add_linear(&format!("{layer}.fc1"), 12, hidden);
                self.add_linear(&format!("{layer}.fc2"), hidden, 12);
                self.add_norm(&format!("{layer}.final_layer_norm"), 12);
            }
        }
    }

    pub fn config_bytes(&self) -> Vec<u8> {
        self.config.to_string().into_bytes()
    }

    pub fn safetensors(&self, dtype: Dtype) -> Vec<u8> {
        safetensors(self.tensors.iter(), dtype)
    }

    /// Writes `config.json` and `model.safetensors`.
    pub fn write(&self, folder: &Path, dtype: Dtype) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("config.json"), self.config_bytes()).unwrap();
        std::fs::write(folder.join("model.safetensors"), self.safetensors(dtype)).unwrap();
    }

    /// Writes `config.json` and two shards with their index.
    pub fn write_sharded(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("config.json"), self.config_bytes()).unwrap();
        let half = self.tensors.len() / 2;
        let parts = [
            self.tensors.iter().take(half).collect(),
            self.tensors.iter().skip(half).collect(),
        ];
        let mut weight_map = BTreeMap::new();
        for (index, part) in parts.into_iter().enumerate() {
            let part: Vec<_> = part;
            let name = format!("model-0000{}-of-00002.safetensors", index + 1);
            weight_map.extend(part.iter().map(|(tensor, _)| ((*tensor).clone(), name.clone())));
            std::fs::write(folder.join(name), safetensors(part.into_iter(), Dtype::F32)).unwrap();
        }
        let index = json!({ "metadata": {}, "weight_map": weight_map }).to_string();
        std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    }
}

fn safetensors<'a>(tensors: impl Iterator<Item = (&'a String, &'a Tensor)>, dtype: Dtype) -> Vec<u8> {
    let stored: Vec<(&String, &Tensor, Vec<u8>)> = tensors
        .map(|(name, tensor)| {
            let values = tensor.values.iter();
            let bytes = match dtype {
                Dtype::F16 => values
                    .flat_map(|&value| f16::from_f32(value).to_le_bytes())
                    .collect(),
                Dtype::BF16 => values
                    .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
                    .collect(),
                Dtype::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
                Dtype::I32 => values.flat_map(|&value| (value as i32).to_le_bytes()).collect(),
                other => panic!("{other:?} is not written here"),
            };
            (name, tensor, bytes)
        })
        .collect();
    let views = stored.iter().map(|(name, tensor, bytes)| {
        (
            *name,
            TensorView::new(dtype, tensor.shape.clone(), bytes).unwrap(),
        )
    });
    serialize(views, None).unwrap()
}
