//! Images by their address.

use std::path::Path;
use std::time::{Duration, Instant};

use florence2::preprocess::{UrlLimits, load_image_url_with};
use florence2::{Error, ImageLimits, load_image};

use super::ID;
use super::server::{COMMIT, Fault, Server};

const NAME: &str = "hotel.jpg";

struct Gallery {
    server: Server,
    url: String,
}

impl Gallery {
    fn new() -> Self {
        let server = Server::new([
            (NAME, std::fs::read(scene()).unwrap()),
            ("page.jpg", b"<html>no image</html>".to_vec()),
        ]);
        let url = format!("{}/{ID}/resolve/{COMMIT}/", server.endpoint);
        Self { server, url }
    }

    fn load(&self, name: &str, limits: UrlLimits) -> florence2::Result<image::RgbImage> {
        load_image_url_with(&format!("{}{name}", self.url), &limits, &ImageLimits::default())
    }
}

fn scene() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/demo/scenes")
        .join(NAME)
}

#[test]
fn an_image_is_fetched_through_redirects() {
    let fetched = Gallery::new().load(NAME, UrlLimits::default()).unwrap();
    assert!(fetched == load_image(scene()).unwrap());
}

#[test]
fn sizes_and_times_have_limits() {
    let gallery = Gallery::new();
    let size = std::fs::metadata(scene()).unwrap().len();
    gallery
        .load(NAME, UrlLimits::default().with_max_bytes(size))
        .unwrap();
    let error = gallery
        .load(NAME, UrlLimits::default().with_max_bytes(size - 1))
        .unwrap_err();
    assert!(
        matches!(error, Error::DownloadTooLarge { limit, .. } if limit == size - 1),
        "{error}"
    );

    gallery
        .server
        .fail(NAME, [Fault::Silence(1000, Duration::from_secs(20))]);
    let start = Instant::now();
    let limits = UrlLimits::default().with_timeout(Duration::from_millis(400));
    let error = gallery.load(NAME, limits).unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn failures_have_errors_of_their_kind() {
    let gallery = Gallery::new();
    let of = |name: &str| gallery.load(name, UrlLimits::default()).unwrap_err();
    assert!(matches!(of("page.jpg"), Error::ImageDecode { .. }));
    assert!(matches!(of("absent.jpg"), Error::NotFound { status: 404, .. }));
    gallery.server.fail(NAME, [Fault::Cut(1000)]);
    assert!(matches!(of(NAME), Error::Network { .. }));
    gallery.server.fail(NAME, [Fault::Status(403, "")]);
    let refused = of(NAME);
    assert!(matches!(refused, Error::AccessDenied { status: 403, .. }));
    // Hints for models do not appear for images.
    for error in [refused, of("absent.jpg")] {
        assert!(!error.to_string().contains("HF_TOKEN"), "{error}");
    }
}
