//! Matching of answered and true instances.

/// The lowest IoU of a match; the threshold of PASCAL VOC (Everingham et al., "The PASCAL Visual Object Classes (VOC)
/// Challenge", 2010, section 4.2).
const THRESHOLD: f64 = 0.5;

/// Returns the IoU of each match between `answered` and `truths`, labels and shapes, the highest first.
///
/// A match is a pair with equal labels and an IoU of [`THRESHOLD`] or more; each instance has one match at most. Pairs
/// are matched greedily by descending IoU; among equals, the pair of the earlier answer, then of the earlier truth,
/// comes first. (VOC and COCO order by the answers' confidence instead, which Florence-2 does not give.)
pub fn pairs<S>(answered: &[(String, S)], truths: &[(String, S)], iou: impl Fn(&S, &S) -> f64) -> Vec<f64> {
    let mut candidates: Vec<(f64, usize, usize)> = Vec::new();
    for (i, (answered_label, answered)) in answered.iter().enumerate() {
        for (j, (true_label, truth)) in truths.iter().enumerate() {
            if answered_label == true_label {
                candidates.push((iou(answered, truth), i, j));
            }
        }
    }
    candidates.retain(|&(iou, ..)| iou >= THRESHOLD);
    // Stable: equal pairs stay in the order of answers and truths.
    candidates.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));

    let (mut answers_left, mut truths_left) = (vec![true; answered.len()], vec![true; truths.len()]);
    candidates.retain(|&(_, i, j)| {
        let matched = answers_left[i] && truths_left[j];
        if matched {
            (answers_left[i], truths_left[j]) = (false, false);
        }
        matched
    });
    candidates.into_iter().map(|(iou, ..)| iou).collect()
}

#[cfg(test)]
mod tests {
    use florence2::BoundingBox;

    use super::*;
    use crate::metrics::overlap::box_iou;

    /// Boxes 10 high, from `x1` to `x2`.
    fn strips(strips: &[(&str, f32, f32)]) -> Vec<(String, BoundingBox)> {
        let labelled =
            |&(label, x1, x2): &(&str, f32, f32)| (label.to_owned(), BoundingBox::new(x1, 0.0, x2, 10.0));
        strips.iter().map(labelled).collect()
    }

    fn matched(answered: &[(&str, f32, f32)], truths: &[(&str, f32, f32)]) -> Vec<f64> {
        pairs(&strips(answered), &strips(truths), box_iou)
    }

    #[test]
    fn each_truth_is_matched_once() {
        let truth = [("star", 0.0, 10.0)];
        assert_eq!(
            matched(&[("star", 0.0, 10.0), ("star", 0.0, 10.0)], &truth),
            [1.0]
        );
        assert_eq!(matched(&[("star", 0.0, 8.0), ("star", 0.0, 10.0)], &truth), [1.0]);
        assert!(matched(&[], &truth).is_empty());
        assert!(matched(&[("star", 0.0, 10.0)], &[]).is_empty());
    }

    #[test]
    fn the_highest_overlap_goes_first() {
        // The first answer overlaps both truths (0.8 and 10/12), the second only the latter, exactly: in the order of
        // answers, the second would be left without.
        let truths = [("star", 0.0, 8.0), ("star", 0.0, 12.0)];
        assert_eq!(
            matched(&[("star", 0.0, 10.0), ("star", 0.0, 12.0)], &truths),
            [1.0, 0.8]
        );
    }

    #[test]
    fn ties_go_to_the_earlier_pair() {
        // Both answers overlap the first truth by 0.8; the second one overlaps the other truth, too (6/10).
        let answered = [("star", 0.0, 8.0), ("star", 2.0, 10.0)];
        let truths = [("star", 0.0, 10.0), ("star", 4.0, 12.0)];
        assert_eq!(matched(&answered, &truths), [0.8, 0.6]);
    }

    #[test]
    fn labels_and_threshold_hold() {
        assert!(matched(&[("ring", 0.0, 10.0)], &[("star", 0.0, 10.0)]).is_empty());
        assert_eq!(matched(&[("star", 0.0, 5.0)], &[("star", 0.0, 10.0)]), [0.5]);
        assert!(matched(&[("star", 0.0, 4.9)], &[("star", 0.0, 10.0)]).is_empty());
    }
}
