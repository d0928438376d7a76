//! Pages of lists: how many items they have, and how many bytes.

/// Page sizes of console reads.
const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1_000;

/// A page ends early when it has this many bytes on the wire, so that it fits the limit of any
/// client; an entity that alone is larger is a page of its own.
const PAGE_BYTES: usize = 1_024 * 1_024;

/// The items that fit a page, and the last one's id where more follow. Never none of them.
pub fn up_to_page_bytes<T: prost::Message>(
    items: impl Iterator<Item = (String, T)>,
    more: bool,
) -> (Vec<T>, Option<String>) {
    let mut items = items.peekable();
    let mut page = Vec::new();
    let mut last = None;
    let mut bytes = 0;
    while let Some((id, item)) =
        items.next_if(|(_id, item)| bytes == 0 || bytes + item.encoded_len() <= PAGE_BYTES)
    {
        bytes += item.encoded_len().max(1);
        page.push(item);
        last = Some(id);
    }
    let cut = items.peek().is_some();
    (page, last.filter(|_| more || cut))
}

pub fn page_size(asked: u32) -> usize {
    match usize::try_from(asked) {
        Ok(0) => PAGE_SIZE_DEFAULT,
        Ok(asked) => asked.min(PAGE_SIZE_MAX),
        Err(_) => PAGE_SIZE_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::wire;

    fn team(id: &str) -> (String, wire::Team) {
        let team = wire::Team {
            id: id.to_owned(),
            parent: String::new(),
        };
        (id.to_owned(), team)
    }

    #[test]
    fn a_page_ends_at_its_bytes_and_never_empty() {
        let large = "x".repeat(PAGE_BYTES);
        let (page, last) = up_to_page_bytes([team(&large), team("b")].into_iter(), false);
        assert_eq!(page.len(), 1);
        assert_eq!(last, Some(large));
        let (page, last) = up_to_page_bytes([team("a"), team("b")].into_iter(), false);
        assert_eq!((page.len(), last), (2, None));
        let (page, last) = up_to_page_bytes([team("a"), team("b")].into_iter(), true);
        assert_eq!((page.len(), last.as_deref()), (2, Some("b")));
        let (page, last) = up_to_page_bytes(std::iter::empty::<(String, wire::Team)>(), false);
        assert_eq!((page.len(), last), (0, None));
    }
}
