//! Text that no model would generate.

use std::time::{Duration, Instant};

use florence2::postprocess::{ParseOptions, RawAnswer, TokenSpan, parse};
use florence2::{CoordinateFormat, ImageSize, OutputKind};

use super::SIZE;
use super::scores::tokens;

/// xorshift64*, so that fuzz texts are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

#[test]
fn any_text_is_parsed_without_panic() {
    const PIECES: [&str; 28] = [
        "<loc_",
        "<loc_1>",
        "<loc_999>",
        "<loc_1><loc_2><loc_3><loc_4>",
        "<loc_٣>",
        "<loc_99999999999999999999>",
        "<sep>",
        "<poly>",
        "</poly>",
        "<s>",
        "</s>",
        "<pad>",
        "<",
        ">",
        "s>",
        "/",
        "loc_",
        "5",
        "९",
        "\n",
        " ",
        "\u{1c}",
        "é",
        "日本",
        "🚗",
        "e\u{301}",
        "\0",
        "car",
    ];
    let mut random = Random(42);
    for round in 0..4000 {
        let text: String = (0..random.below(60))
            .map(|_| PIECES[random.below(PIECES.len())])
            .collect();
        let noise: String = (0..random.below(40))
            .filter_map(|_| char::from_u32(random.below(0x11_0000) as u32))
            .collect();
        let text = if round % 4 == 0 { text + &noise } else { text };
        // Spans unrelated to the text.
        let tokens: Vec<TokenSpan> = (0..random.below(8))
            .map(|_| TokenSpan {
                range: random.below(300)..random.below(300),
                log_probability: -(random.below(9) as f32),
            })
            .collect();
        let answer = RawAnswer {
            text: &text,
            tokens: Some(&tokens),
        };
        for kind in OutputKind::ALL {
            for strict in [false, true] {
                let size = ImageSize::new(random.below(3) as u32, random.below(5000) as u32);
                let options = ParseOptions::default()
                    .with_strict(strict)
                    .with_ocr_area_threshold(random.below(2) as f64 * 0.1);
                let parsed = parse(kind, &answer, size, &options);
                let json = parsed.to_transformers("<T>", CoordinateFormat::Float).to_string();
                assert!(!json.contains("null"), "{text:?}: {json}");
                assert!(
                    parsed
                        .scores()
                        .into_iter()
                        .flatten()
                        .all(|score| (0.0..=1.0).contains(&score))
                );
            }
        }
    }
}

#[test]
fn hostile_text_is_parsed_in_reasonable_time() {
    const LENGTH: usize = 100_000;
    let units = [
        "a",
        "<",
        "<loc_",
        "<loc_1>",
        "<loc_1",
        "a<loc_1>",
        "a<loc_1><loc_2><loc_3>",
        "a<loc_1><loc_2><loc_3><loc_4>",
        "<poly>",
        "</poly>",
        "<sep>",
        "<poly></poly>",
        "x<poly>",
        "x<poly><loc_1><loc_2><sep>",
        "<poly><loc_1><loc_2></poly>",
        "<s>",
        "<<s>",
        "\n",
        " ",
        "\n<loc_1>",
        "a\n<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>",
        "<loc_९९९>",
        "９",
    ];
    let mut texts: Vec<String> = units
        .iter()
        .map(|unit| unit.repeat(LENGTH / unit.len()))
        .collect();
    texts.push("<".repeat(LENGTH / 4) + &"s>".repeat(LENGTH / 4));
    texts.push(format!("x<loc_{}>{}", "9".repeat(LENGTH), "<loc_1>".repeat(8)));
    texts.push(format!(
        "x<loc_{}>{}",
        "९".repeat(LENGTH / 3),
        "<loc_1>".repeat(8)
    ));
    texts.push(format!("x{}", "<loc_1>".repeat(LENGTH / 7)));
    for text in texts {
        let tokens = tokens(&text, |_| -1.0);
        let answer = RawAnswer {
            text: &text,
            tokens: Some(&tokens),
        };
        for kind in OutputKind::ALL {
            for strict in [false, true] {
                let options = ParseOptions::default().with_strict(strict);
                let start = Instant::now();
                parse(kind, &answer, SIZE, &options);
                let took = start.elapsed();
                let shown: String = text.chars().take(40).collect();
                assert!(
                    took < Duration::from_secs(5),
                    "{shown}… as {kind:?} took {took:?}"
                );
            }
        }
    }
}
