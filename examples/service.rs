//! The core of a service: several threads share a model, requests wait in a bounded queue, and each has a deadline. Graphs
//! are locked one by one, so one request's image is encoded while another's answer is decoded.
//!
//! ```text
//! cargo run --release --example service -- MODEL_FOLDER IMAGE...
//! ```

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use florence2::{Florence2, LoadOptions, Output, RunOptions, Task, load_image};

const WORKERS: usize = 2;
const QUEUE: usize = 16;
const TIME: Duration = Duration::from_secs(30);

/// A client's request and its deadline.
struct Request {
    image: String,
    task: Task,
    deadline: Instant,
}

/// The response to a request.
struct Response {
    image: String,
    result: florence2::Result<Output>,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().context("give a model folder and images")?;
    let images: Vec<String> = arguments.collect();
    let model = Florence2::from_pretrained(&model, LoadOptions::default())?;

    let (requests, queue) = sync_channel(QUEUE);
    let (responses, answers) = channel();
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            let responses = responses.clone();
            scope.spawn(|| serve(&model, &queue, responses));
        }
        // `answers` ends when the last worker drops its sender.
        drop(responses);
        scope.spawn(move || {
            for image in images {
                let request = Request {
                    image,
                    task: Task::ObjectDetection,
                    deadline: Instant::now() + TIME,
                };
                // Waits while the queue is full; a server would answer "busy" instead (`try_send`).
                if requests.send(request).is_err() {
                    return;
                }
            }
        });
        for Response { image, result } in answers {
            match result {
                Ok(output) => println!(
                    "{image}: {} in {:.0} ms",
                    output.raw_text,
                    1e3 * output.timings.total()
                ),
                Err(error) => eprintln!("{image}: {:#}", anyhow::Error::from(error)),
            }
        }
    });
    Ok(())
}

/// Answers requests until the queue or the channel of answers is closed.
fn serve(model: &Florence2, queue: &Mutex<Receiver<Request>>, responses: Sender<Response>) {
    loop {
        let request = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(request) = request else { return };
        let result = answer(model, &request);
        let response = Response {
            image: request.image,
            result,
        };
        if responses.send(response).is_err() {
            return;
        }
    }
}

fn answer(model: &Florence2, request: &Request) -> florence2::Result<Output> {
    let image = load_image(&request.image)?;
    let options = RunOptions::default().with_deadline(request.deadline);
    model.run_with(&image, &request.task, &options)
}
