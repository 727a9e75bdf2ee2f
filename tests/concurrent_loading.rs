//! Models load in several threads at once, in a process that has loaded none before: ONNX Runtime's own tables must not be
//! written to by two of them. (A process of its own: what the first load enters there stays.)

mod common;

use std::sync::Barrier;
use std::thread;

use florence2::{Florence2, LoadOptions};

#[test]
fn first_models_load_at_the_same_time() {
    common::init_runtime();
    let threads = 8;
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let loads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    Florence2::demo(LoadOptions::default()).map(|_| ())
                })
            })
            .collect();
        for load in loads {
            load.join().unwrap().unwrap();
        }
    });
}
