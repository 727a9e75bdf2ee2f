//! Values of results that differ from transformers'.

use florence2::postprocess::{BANNED_GROUNDING_TOKENS, ParseOptions, RawAnswer, parse};
use florence2::{OutputKind, Parsed};

use super::SIZE;

fn read(kind: OutputKind, text: &str, strict: bool) -> Parsed {
    parse(
        kind,
        &RawAnswer::from_text(text),
        SIZE,
        &ParseOptions::default().with_strict(strict),
    )
}

fn detections(parsed: Parsed) -> Vec<(String, [f32; 4])> {
    let Parsed::Detections(detections) = parsed else {
        panic!("{parsed:?}")
    };
    detections
        .into_iter()
        .map(|detection| (detection.label, detection.bbox.to_array()))
        .collect()
}

#[test]
fn coordinates_are_the_centres_of_bins() {
    let text = "</s><s>café<loc_0><loc_999><loc_500><loc_1></s>";
    assert_eq!(
        detections(read(OutputKind::DescriptionWithBboxes, text, false)),
        // As in torch's f32: 1.5 · (480 / 1000) is just below 0.72.
        [("café".to_owned(), [0.32, 479.75998, 320.32, 0.71999997])]
    );
    assert_eq!(
        detections(read(OutputKind::DescriptionWithBboxes, text, true)),
        [("caf".to_owned(), [0.0, 479.0, 320.0, 0.0])]
    );
}

#[test]
fn ocr_text_may_have_newlines_unless_strict() {
    let text = "one\ntwo<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>";
    for (strict, expected) in [(false, "one\ntwo"), (true, "two")] {
        let Parsed::OcrRegions(regions) = read(OutputKind::Ocr, text, strict) else {
            panic!("not OCR")
        };
        assert_eq!(regions.len(), 1);
        assert_eq!(regions[0].text, expected);
    }
}

#[test]
fn ocr_regions_below_the_threshold_are_omitted() {
    // 0.1 × 0.1 and 0.5 × 0.5 of the image, both far from its corner.
    let text = "small<loc_800><loc_800><loc_900><loc_800><loc_900><loc_900><loc_800><loc_900>\
                large<loc_400><loc_400><loc_900><loc_400><loc_900><loc_900><loc_400><loc_900>";
    let options = ParseOptions::default().with_ocr_area_threshold(0.2);
    let Parsed::OcrRegions(regions) = parse(OutputKind::Ocr, &RawAnswer::from_text(text), SIZE, &options)
    else {
        panic!("not OCR")
    };
    assert_eq!(
        regions.iter().map(|region| &region.text).collect::<Vec<_>>(),
        ["large"]
    );
}

#[test]
fn banned_phrases_are_omitted_from_groundings_only() {
    let text = "the image<loc_1><loc_2><loc_3><loc_4>the imagecar<loc_1><loc_2><loc_3><loc_4>";
    let labels = |kind| {
        let labels = detections(read(kind, text, false)).into_iter();
        labels.map(|(label, _)| label).collect::<Vec<_>>()
    };
    assert_eq!(labels(OutputKind::PhraseGrounding), ["the imagecar"]);
    assert_eq!(
        labels(OutputKind::DescriptionWithBboxes),
        ["the image", "the imagecar"]
    );
    assert!(BANNED_GROUNDING_TOKENS.contains(&"one another"));
}
