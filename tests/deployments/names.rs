//! Files with other names, and missing files.

use florence2::bundle::{DeploymentNames, LayoutKind};
use florence2::{Bundle, ImageSize, LoadOptions};
use florence2_export::GraphFile;

use super::{Deployment, FP32, MERGED, SPLIT, answers, options, path};

/// The graphs under other names, beside the configuration or in their folder.
fn renamed(graphs: &[GraphFile], name: impl Fn(GraphFile) -> String) -> Deployment {
    let mut deployment = Deployment::new(graphs, FP32);
    for &graph in graphs {
        let bytes = deployment.files.remove(&path(graph, FP32)).unwrap();
        deployment.files.insert(name(graph), bytes);
    }
    deployment
}

fn older_name(graph: GraphFile) -> String {
    let usls = &DeploymentNames::built_in()[1];
    let name = usls.of(graph).files.first().map_or(graph.name(), String::as_str);
    name.replace('_', "-")
}

#[test]
fn names_of_older_exports() {
    let reference = answers(&Deployment::new(&MERGED, FP32).load());
    for folder in ["", "onnx/"] {
        for graphs in [&MERGED[..], &SPLIT] {
            let deployment = renamed(graphs, |graph| format!("{folder}base-{}.onnx", older_name(graph)));
            assert_eq!(answers(&deployment.load()), reference);
            let f16 = renamed(graphs, |graph| {
                format!("{folder}base-{}-f16.onnx", older_name(graph))
            });
            let options = options().with_dtype("fp16".parse().unwrap());
            f16.load_with(options).unwrap();
        }
    }
}

/// The same in a folder of a file system, where names are listed.
#[test]
fn names_of_older_exports_in_a_folder() {
    let deployment = renamed(&MERGED, |graph| {
        format!("florence2-base-{}.onnx", older_name(graph))
    });
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &deployment.files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let bundle = Bundle::open(florence2::BundleSource::Folder(folder.path().into())).unwrap();
    assert_eq!(bundle.layout.kind(), Some(LayoutKind::Plain));
    assert_eq!(bundle.layout.prefix, "florence2-base-");
    super::common::runtime();
    florence2::Florence2::from_pretrained(folder.path(), LoadOptions::default()).unwrap();
}

/// Older exports' other files may have the prefix of their graphs.
#[test]
fn names_of_older_side_files() {
    let reference = answers(&Deployment::new(&MERGED, FP32).load());
    let mut deployment = renamed(&MERGED, |graph| format!("base-{}.onnx", older_name(graph)));
    let side: Vec<String> = deployment
        .files
        .keys()
        .filter(|file| !file.ends_with(".onnx"))
        .cloned()
        .collect();
    for file in side {
        let bytes = deployment.files.remove(&file).unwrap();
        deployment.files.insert(format!("base-{file}"), bytes);
    }
    assert_eq!(answers(&deployment.load()), reference);
}

/// Settings without a file come from the graphs and the built-in tables.
#[test]
fn missing_settings() {
    let whole = Deployment::new(&MERGED, FP32);
    let bare = [
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer_config.json",
    ]
    .into_iter()
    .fold(whole.clone(), Deployment::without);
    let model = bare.load();
    assert_eq!(model.image_processor().size, Some(ImageSize::new(192, 192)));
    assert_eq!(answers(&model), answers(&whole.load()));

    // As in the published large models; the search settings are in `config.json`.
    let tiny = whole
        .edited("generation_config.json", |_| br#"{"num_beams": 3}"#.to_vec())
        .edited_json("config.json", |config| {
            config["text_config"]["no_repeat_ngram_size"] = 3.into();
            config["text_config"]["forced_bos_token_id"] = 0.into();
            config["text_config"]["early_stopping"] = true.into();
        });
    let settings = tiny.load().generation_config().clone();
    assert_eq!((settings.num_beams, settings.no_repeat_ngram_size), (3, 3));
    assert_eq!(settings.forced_bos_token_id, Some(0));
    let model = bare.without("generation_config.json").load();
    assert_eq!(model.generation_config().num_beams, 3);
    assert_eq!(model.generation_config().no_repeat_ngram_size, 3);
}

/// `vocab.json` and `merges.txt` have the contents of `tokenizer.json` except the added tokens.
#[test]
fn a_tokenizer_in_the_older_files() {
    let whole = Deployment::new(&MERGED, FP32);
    let json: serde_json::Value = serde_json::from_slice(&whole.files["tokenizer.json"]).unwrap();
    let merges: Vec<String> = json["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|merge| match merge.as_array() {
            Some(pair) => pair
                .iter()
                .map(|part| part.as_str().unwrap())
                .collect::<Vec<_>>()
                .join(" "),
            None => merge.as_str().unwrap().to_owned(),
        })
        .collect();
    let added: serde_json::Map<String, serde_json::Value> = json["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| (token["content"].as_str().unwrap().to_owned(), token["id"].clone()))
        .collect();
    let mut older = whole.clone().without("tokenizer.json");
    for (name, bytes) in [
        ("vocab.json", json["model"]["vocab"].to_string()),
        ("merges.txt", format!("#version: 0.2\n{}\n", merges.join("\n"))),
        ("added_tokens.json", serde_json::Value::Object(added).to_string()),
    ] {
        older.files.insert(name.into(), bytes.into_bytes().into());
    }
    assert_eq!(answers(&older.load()), answers(&whole.load()));
}
