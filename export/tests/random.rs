//! A random checkpoint of real size is whole, and the same for the same seed.

use florence2_export::{
    Checkpoint, ExportOptions, GraphFile, RandomOptions, export_graph_bytes, random_checkpoint,
};

#[test]
fn a_random_checkpoint_exports() {
    let folder = tempfile::tempdir().unwrap();
    let options = RandomOptions::default().with_seed(3).with_half_precision(true);
    random_checkpoint(folder.path(), &options).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config().text_config.vocab_size, 51290);
    let size = std::fs::metadata(folder.path().join("model.safetensors"))
        .unwrap()
        .len();
    assert!(size > 460_000_000, "{size}");
    // Asks for every decoder weight, and reads those.
    let options = ExportOptions::default();
    export_graph_bytes(&checkpoint, GraphFile::EncoderModel, &options).unwrap();
}
