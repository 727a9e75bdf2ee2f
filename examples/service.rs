//! The heart of a service: several threads share one model, requests wait in a queue of limited length, and each has
//! a deadline. The graphs are locked one by one, so that one request's picture is encoded while another's answer is
//! searched for.
//!
//! ```text
//! cargo run --release --example service -- MODEL_FOLDER IMAGE...
//! ```

use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use florence2::{Florence2, ImageLimits, LoadOptions, Output, RunOptions, Task, load_image};

const WORKERS: usize = 2;
const QUEUE: usize = 16;
const TIME: Duration = Duration::from_secs(30);

/// What a client wants, and by when.
struct Request {
    image: String,
    task: Task,
    deadline: Instant,
}

/// What it gets.
struct Response {
    image: String,
    result: florence2::Result<Output>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("give a model folder and images")?;
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
        // With the last worker's, the last sender goes, and `answers` ends.
        drop(responses);
        scope.spawn(move || {
            for image in images {
                let request = Request {
                    image,
                    task: Task::ObjectDetection,
                    deadline: Instant::now() + TIME,
                };
                // Waits while the queue is full; a server would refuse with "busy" instead (`try_send`).
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
                Err(error) => eprintln!("{image}: {error}"),
            }
        }
    });
    Ok(())
}

/// Answers requests until there are no more, or nobody reads the answers.
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
    let image = load_image(&request.image, &ImageLimits::default())?.into();
    let options = RunOptions::default().with_deadline(request.deadline);
    model.run_with(&image, &request.task, &options)
}
