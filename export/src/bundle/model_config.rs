//! `config.json`: the checkpoint's own, with what transformers.js needs to find big weights.

use florence2_layout::files::CONFIG;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{object, pretty, read};
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// Where transformers.js looks for its settings.
const SECTION: &str = "transformers.js_config";
/// Its setting that says which graphs have a weight file beside them.
const EXTERNAL_DATA: &str = "use_external_data_format";

/// The checkpoint's file, which names the graphs (by their files) that have their weights in a file of their own.
pub(crate) fn naming_external_data(checkpoint: &Checkpoint, graphs: &BTreeSet<String>) -> Result<Vec<u8>> {
    let mut config = read(checkpoint, CONFIG)?;
    let section = config.entry(SECTION).or_insert_with(|| Value::Object(object([])));
    // Files in one piece each, which is what `true` says.
    let files: serde_json::Map<String, Value> =
        graphs.iter().map(|name| (name.clone(), json!(true))).collect();
    match section {
        Value::Object(section) => {
            section.insert(EXTERNAL_DATA.to_owned(), Value::Object(files));
        }
        other => *other = json!({ EXTERNAL_DATA: files }),
    }
    Ok(pretty(config))
}
