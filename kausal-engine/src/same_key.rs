//! Whether two keys that follow each other are one key in two versions: asked for every entry that is merged or walked over.

/// Whether two keys are equal. Neighbours mostly differ in their first or last bytes, which are compared without a call.
#[inline]
pub(crate) fn is_same_key(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let ends = |key: &[u8]| Some((*key.first_chunk::<8>()?, *key.last_chunk::<8>()?));
    match (ends(left), ends(right)) {
        // Of a key of sixteen bytes these are all.
        (Some(left_ends), Some(right_ends)) => left_ends == right_ends && (left.len() <= 16 || left == right),
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_are_the_same_exactly_if_they_are_equal() {
        for len in 0..40 {
            let key: Vec<u8> = (0..len).collect();
            assert!(is_same_key(&key, &key.clone()));
            assert!(!is_same_key(&key, &[&key[..], &[0]].concat()));
            for place in 0..key.len() {
                let mut other = key.clone();
                other[place] ^= 1;
                assert!(!is_same_key(&key, &other), "{len} {place}");
            }
        }
    }
}
