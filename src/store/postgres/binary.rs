//! The binary format of COPY, read as it arrives.
//!
//! A row is a count of fields and the fields, each a length and so many bytes. Rows come in pieces
//! of any size. What isn't of that form is an error, never a panic or a wait without end.

/// What every copy begins with, before its flags.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of what may follow them.
const HEADER: usize = 19;
/// A field that is longer is none of ours.
const FIELD_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BinaryError {
    #[error("it does not begin as a binary copy does")]
    Header,
    #[error("a row has another number of fields than were asked for")]
    Fields,
    #[error("a field is longer than a field can be")]
    Length,
    #[error("something follows its end")]
    AfterEnd,
    #[error("it breaks off in the middle")]
    Short,
}

/// A field of a row; `None`: null.
pub(super) type Field<'a> = Option<&'a [u8]>;

/// Cuts pieces of a copy into rows of `N` fields.
pub(super) struct Rows<const N: usize> {
    /// The beginning of what was not whole yet.
    rest: Vec<u8>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Rows,
    End,
}

impl<const N: usize> Rows<N> {
    pub(super) fn new() -> Self {
        Self {
            rest: Vec::new(),
            stage: Stage::Header,
        }
    }

    /// Gives each row that is whole with this piece to `take`.
    pub(super) fn feed<E: From<BinaryError>>(
        &mut self,
        piece: &[u8],
        mut take: impl FnMut([Field<'_>; N]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.rest.is_empty() {
            let used = self.read(piece, &mut take)?;
            self.rest
                .extend_from_slice(piece.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.rest);
        joined.extend_from_slice(piece);
        let used = self.read(&joined, &mut take)?;
        joined.drain(..used);
        self.rest = joined;
        Ok(())
    }

    /// Whether the copy ended where it should.
    pub(super) fn end(&self) -> Result<(), BinaryError> {
        if self.stage == Stage::End && self.rest.is_empty() {
            Ok(())
        } else {
            Err(BinaryError::Short)
        }
    }

    /// Reads as many rows as are whole; how many bytes they were.
    fn read<E: From<BinaryError>>(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut([Field<'_>; N]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut left = bytes;
        if self.stage == Stage::Header {
            let Some((header, after)) = left.split_at_checked(HEADER) else {
                return Ok(0);
            };
            // No flags are set and nothing extends the header in any version that there is.
            let plain = header
                .strip_prefix(SIGNATURE)
                .is_some_and(|tail| tail.iter().all(|byte| *byte == 0));
            if !plain {
                return Err(BinaryError::Header.into());
            }
            left = after;
            self.stage = Stage::Rows;
        }
        while self.stage == Stage::Rows {
            let Some((count, mut fields)) = left.split_first_chunk::<2>() else {
                break;
            };
            match i16::from_be_bytes(*count) {
                -1 => {
                    self.stage = Stage::End;
                    left = fields;
                    break;
                }
                count if usize::try_from(count) == Ok(N) => {}
                _ => return Err(BinaryError::Fields.into()),
            }
            let Some(row) = cut::<N>(&mut fields)? else {
                break;
            };
            take(row)?;
            left = fields;
        }
        if self.stage == Stage::End && !left.is_empty() {
            return Err(BinaryError::AfterEnd.into());
        }
        Ok(bytes.len() - left.len())
    }
}

/// Takes the fields of a row off the front; `None`: they are not all there yet.
fn cut<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<Option<[Field<'a>; N]>, BinaryError> {
    let mut row = [None; N];
    for field in &mut row {
        let Some((length, after)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        *bytes = after;
        if length == -1 {
            continue;
        }
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= FIELD_BYTES_MAX)
            .ok_or(BinaryError::Length)?;
        let Some((value, after)) = bytes.split_at_checked(length) else {
            return Ok(None);
        };
        *field = Some(value);
        *bytes = after;
    }
    Ok(Some(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(rows: &[[Option<&str>; 2]]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        for row in rows {
            bytes.extend(2_i16.to_be_bytes());
            for field in row {
                match field {
                    None => bytes.extend((-1_i32).to_be_bytes()),
                    Some(text) => {
                        bytes.extend(i32::try_from(text.len()).unwrap().to_be_bytes());
                        bytes.extend(text.as_bytes());
                    }
                }
            }
        }
        bytes.extend((-1_i16).to_be_bytes());
        bytes
    }

    type Read = Vec<[Option<String>; 2]>;

    fn read(pieces: &[&[u8]]) -> Result<Read, BinaryError> {
        let mut rows = Rows::<2>::new();
        let mut found = Vec::new();
        for piece in pieces {
            rows.feed(piece, |row| {
                found.push(
                    row.map(|field| field.map(|bytes| String::from_utf8_lossy(bytes).into_owned())),
                );
                Ok::<(), BinaryError>(())
            })?;
        }
        rows.end().map(|()| found)
    }

    #[test]
    fn rows_are_the_same_however_they_are_cut() {
        let written = [
            [Some("contact"), None],
            [Some(""), Some("a longer one, with \u{fffd} in it")],
            [None, None],
        ];
        let expected: Read = written
            .iter()
            .map(|row| row.map(|field| field.map(str::to_owned)))
            .collect();
        let bytes = copy(&written);
        for size in 1..=bytes.len() {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(read(&pieces).unwrap(), expected, "in pieces of {size}");
        }
        assert_eq!(read(&[&copy(&[])]).unwrap(), Read::new());
    }

    #[test]
    fn what_is_not_of_the_form_is_an_error() {
        let good = copy(&[[Some("a"), Some("b")]]);
        for end in 0..good.len() {
            assert_eq!(read(&[&good[..end]]), Err(BinaryError::Short), "{end}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(read(&[&with(0, b'p')]), Err(BinaryError::Header));
        assert_eq!(read(&[&with(HEADER - 1, 1)]), Err(BinaryError::Header));
        assert_eq!(read(&[&with(HEADER + 1, 3)]), Err(BinaryError::Fields));
        assert_eq!(read(&[&with(HEADER, 0x80)]), Err(BinaryError::Fields));
        assert_eq!(read(&[&with(HEADER + 2, 0x80)]), Err(BinaryError::Length));
        assert_eq!(read(&[&with(HEADER + 2, 0x7f)]), Err(BinaryError::Length));
        let after = [good.as_slice(), b"x"].concat();
        assert_eq!(read(&[&after]), Err(BinaryError::AfterEnd));
    }

    /// Any bytes whatever: an answer or an error.
    #[test]
    fn no_bytes_bring_it_down() {
        let mut state = 20_261_122_u64;
        let mut dice = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let good = copy(&[[Some("contact"), None], [Some("deal"), Some("d1")]]);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=dice() % 4 {
                let at = usize::try_from(dice()).unwrap() % bytes.len();
                bytes[at] = u8::try_from(dice() % 256).unwrap();
            }
            let cut = usize::try_from(dice()).unwrap() % bytes.len();
            let (one, other) = bytes.split_at(cut);
            let _any = read(&[one, other]);
        }
    }
}
