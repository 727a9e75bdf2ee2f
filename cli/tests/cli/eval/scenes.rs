//! The demo model's sample scenes as a data set.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A sample scene's annotations.
#[derive(Deserialize)]
struct Annotations {
    image: String,
    width: u32,
    height: u32,
    caption: String,
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    label: String,
    description: String,
    bbox: [f32; 4],
    polygon: Vec<f32>,
    text: Option<String>,
    text_quad: Option<[f32; 8]>,
}

/// A data set of all sample scenes, in the order of their names.
pub fn dataset() -> TempDir {
    let scenes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/scenes");
    let mut files: Vec<PathBuf> = fs::read_dir(&scenes)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for file in files {
        let annotations: Annotations = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        fs::copy(
            scenes.join(&annotations.image),
            folder.path().join(&annotations.image),
        )
        .unwrap();
        lines.push_str(&format!("{}\n", annotations.scene()));
    }
    fs::write(folder.path().join("scenes.jsonl"), lines).unwrap();
    folder
}

impl Annotations {
    fn scene(&self) -> Value {
        json!({
            "image": self.image, "width": self.width, "height": self.height, "samples": self.samples(),
        })
    }

    fn samples(&self) -> Vec<Value> {
        let all = |f: &dyn Fn(&Object) -> Value| self.objects.iter().map(f).collect::<Vec<_>>();
        let mut samples = vec![
            json!({"task": "<CAPTION>", "truth": {"text": self.caption}}),
            json!({"task": "<OD>", "input": null, "region": null, "truth": {
                "instances": all(&|object| json!({"label": object.label, "bbox": object.bbox})),
            }}),
            json!({"task": "<DENSE_REGION_CAPTION>", "truth": {
                "instances": all(&|object| json!({"label": object.description, "bbox": object.bbox})),
            }}),
            json!({"task": "<REGION_PROPOSAL>", "truth": {
                "instances": all(&|object| json!({"bbox": object.bbox})),
            }}),
        ];
        for object in &self.objects {
            let named = self.objects.iter();
            let named = named.filter(|other| other.description == object.description);
            let mask = json!({"instances": [{"polygons": [object.polygon]}]});
            samples.push(json!({
                "task": "<OPEN_VOCABULARY_DETECTION>",
                "input": object.description,
                "truth": {"instances": named.map(|other| {
                    json!({"label": other.description, "bbox": other.bbox})
                }).collect::<Vec<_>>()},
            }));
            samples.push(json!({"task": "<REGION_TO_SEGMENTATION>", "region": object.bbox, "truth": mask}));
            samples.push(
                json!({"task": "<REGION_TO_CATEGORY>", "region": object.bbox, "truth": {"text": object.label}}),
            );
            if let (Some(text), Some(quad)) = (&object.text, object.text_quad) {
                samples.push(json!({"task": "<OCR>", "truth": {"text": text}}));
                samples
                    .push(json!({"task": "<REGION_TO_OCR>", "region": object.bbox, "truth": {"text": text}}));
                samples.push(json!({"task": "<OCR_WITH_REGION>", "truth": {"instances": [
                    {"text": text, "quad": quad},
                ]}}));
            }
        }
        samples
    }
}
