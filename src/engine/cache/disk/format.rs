//! One snapshot as a file.
//!
//! | Part | Bytes |
//! |---|---|
//! | prelude | see [`PRELUDE_BYTES`] |
//! | conversation: id, parent, owner, named | 8, 8, 8, 1 |
//! | anchor, length of the state | 8, 8 |
//! | numbers of checkpoints and of the proof's logits | 4, 4 |
//! | the proof's token | 4 |
//! | tokens | 4 each |
//! | checkpoints: position, length | 8, 8 each |
//! | the proof's logits: token, logit | 4, 4 each |
//! | checksum of all before | 16 |
//! | state, checkpoints | as said |
//! | checksum of all before | 16 |
//!
//! Numbers are little endian. The checksums are XXH3's of 128 bits: they find what a disk or a crash
//! did to a file, not what somebody did who may write to the directory.

use std::io::{self, Read, Write};
use std::sync::Arc;

use twox_hash::XxHash3_128;

use super::super::files::{MAGIC, PRELUDE_BYTES, name};
use super::super::{Checkpoint, Proof, Snapshot};
use crate::engine::{ConversationId, Token};

/// Another number for another layout: a state of another one is never read.
pub(crate) const STATE_FORMAT: u32 = 1;

/// Bytes of a checksum.
const CHECKSUM: usize = 16;
/// Bytes of the header before its lists, without the prelude.
const FIXED: usize = 8 + 8 + 8 + 1 + 8 + 8 + 4 + 4 + 4;
/// Longest header: a million tokens with a checkpoint at each hundredth.
const MAX_HEADER: usize = 16 << 20;
/// Bytes that are read or written at a time; they are hashed while they are in the CPU's cache.
const CHUNK: usize = 1 << 20;

/// Why a file gives no snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The system's, which says nothing about the file.
    #[error("{0}")]
    System(io::Error),
    /// It is not what its name says, or damaged.
    #[error("{0}")]
    Damaged(&'static str),
}

/// What a file says before its states.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) key: [u8; 32],
    pub(super) conversation: ConversationId,
    pub(super) anchor: usize,
    pub(super) tokens: Vec<Token>,
    pub(super) proof: Proof,
    /// Bytes of the state.
    state: usize,
    /// Position and bytes of each checkpoint.
    pub(super) checkpoints: Vec<(usize, usize)>,
}

/// The name of the file with these tokens of this owner.
pub(super) fn file_name(key: &[u8; 32], tokens: &[Token], owner: u64) -> String {
    let mut hash = XxHash3_128::new();
    hash.write(&owner.to_le_bytes());
    for token in tokens {
        hash.write(&token.to_le_bytes());
    }
    name(key, hash.finish_128())
}

/// Bytes of the file with this snapshot.
pub(super) fn file_bytes(snapshot: &Snapshot) -> u64 {
    let lists = 16 * snapshot.checkpoints.len() + 8 * snapshot.proof.top.len();
    (PRELUDE_BYTES + FIXED + lists + 2 * CHECKSUM) as u64 + snapshot.bytes()
}

/// The header with its checksum; `None`: it is longer than any that is read.
pub(super) fn encode_header(key: &[u8; 32], snapshot: &Snapshot) -> Option<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let long = |n: usize| (n as u64).to_le_bytes();
    out.extend(STATE_FORMAT.to_le_bytes());
    out.extend(key);
    out.extend(count(snapshot.tokens.len()));
    out.extend([0; 4]);
    let ConversationId { id, named, parent, owner } = snapshot.conversation;
    for number in [id, parent, owner] {
        out.extend(number.to_le_bytes());
    }
    out.push(named.into());
    out.extend(long(snapshot.anchor));
    out.extend(long(snapshot.state.len()));
    out.extend(count(snapshot.checkpoints.len()));
    out.extend(count(snapshot.proof.top.len()));
    out.extend(snapshot.proof.token.to_le_bytes());
    for token in &snapshot.tokens {
        out.extend(token.to_le_bytes());
    }
    for checkpoint in &snapshot.checkpoints {
        out.extend(long(checkpoint.position));
        out.extend(long(checkpoint.state.len()));
    }
    for (token, logit) in &snapshot.proof.top {
        out.extend(token.to_le_bytes());
        out.extend(logit.to_bits().to_le_bytes());
    }
    let length = out.len() - PRELUDE_BYTES;
    if length > MAX_HEADER {
        return None;
    }
    out[PRELUDE_BYTES - 4..PRELUDE_BYTES].copy_from_slice(&count(length));
    out.extend(XxHash3_128::oneshot(&out).to_le_bytes());
    Some(out)
}

/// Writes a file. `go_on` is asked every megabyte and told what has been written; its false gives
/// up with [`io::ErrorKind::TimedOut`].
pub(super) fn write(
    mut out: impl Write,
    header: &[u8],
    snapshot: &Snapshot,
    mut go_on: impl FnMut(u64) -> io::Result<bool>,
) -> io::Result<()> {
    let mut hash = XxHash3_128::new();
    hash.write(header);
    out.write_all(header)?;
    let mut written = header.len() as u64;
    let states = snapshot.checkpoints.iter().map(|checkpoint| checkpoint.state.as_slice());
    for chunk in
        std::iter::once(snapshot.state.as_slice()).chain(states).flat_map(|s| s.chunks(CHUNK))
    {
        if !go_on(written)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        hash.write(chunk);
        out.write_all(chunk)?;
        written += chunk.len() as u64;
    }
    out.write_all(&hash.finish_128().to_le_bytes())
}

/// Numbers from a header, which is long enough: what is missing reads as `None`.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        self.u64().and_then(|n| usize::try_from(n).ok())
    }
}

impl Header {
    /// Reads the header of a file of `file_bytes` and checks it against its checksum and the file's
    /// length. Takes memory for the header alone, and no more than the file is long.
    pub(super) fn read(source: &mut impl Read, file_bytes: u64) -> Result<Self, ReadError> {
        read_header(source, file_bytes).map(|(header, _)| header)
    }
}

fn read_header(
    source: &mut impl Read,
    file_bytes: u64,
) -> Result<(Header, XxHash3_128), ReadError> {
    let mut bytes = vec![0; PRELUDE_BYTES];
    fill(source, &mut bytes)?;
    let mut prelude = Fields(&bytes);
    if prelude.bytes() != Some(MAGIC) {
        return Err(ReadError::Damaged("it is no saved prompt"));
    }
    if prelude.u32() != Some(STATE_FORMAT) {
        return Err(ReadError::Damaged("it has another format"));
    }
    let (Some(key), Some(tokens), Some(length)) = (prelude.bytes(), prelude.u32(), prelude.u32())
    else {
        return Err(CUT);
    };
    let length = length as usize;
    if length > MAX_HEADER || (PRELUDE_BYTES + length + 2 * CHECKSUM) as u64 > file_bytes {
        return Err(CUT);
    }
    bytes.resize(PRELUDE_BYTES + length, 0);
    fill(source, &mut bytes[PRELUDE_BYTES..])?;
    let mut checksum = [0; CHECKSUM];
    fill(source, &mut checksum)?;
    if XxHash3_128::oneshot(&bytes).to_le_bytes() != checksum {
        return Err(CHANGED);
    }
    let header = decode(key, tokens as usize, &bytes[PRELUDE_BYTES..])
        .ok_or(ReadError::Damaged("its lengths do not fit together"))?;
    let states =
        header.checkpoints.iter().try_fold(header.state, |sum, (_, n)| sum.checked_add(*n));
    let whole = states.and_then(|states| states.checked_add(bytes.len() + 2 * CHECKSUM));
    if whole.map(|whole| whole as u64) != Some(file_bytes) {
        return Err(CUT);
    }
    let mut hash = XxHash3_128::new();
    hash.write(&bytes);
    hash.write(&checksum);
    Ok((header, hash))
}

/// The header behind the prelude; `None`: its numbers do not fit together.
fn decode(key: [u8; 32], tokens: usize, bytes: &[u8]) -> Option<Header> {
    let mut fields = Fields(bytes);
    let (id, parent, owner) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let [named] = fields.bytes()?;
    let conversation = ConversationId { id, named: named != 0, parent, owner };
    let (anchor, state) = (fields.length()?, fields.length()?);
    let (checkpoints, top) = (fields.u32()? as usize, fields.u32()? as usize);
    let token = fields.i32()?;
    let lists = tokens.checked_mul(4)?;
    let lists =
        lists.checked_add(checkpoints.checked_mul(16)?)?.checked_add(top.checked_mul(8)?)?;
    if fields.0.len() != lists || anchor > tokens {
        return None;
    }
    let tokens: Vec<Token> = (0..tokens).map_while(|_| fields.i32()).collect();
    let checkpoints: Vec<(usize, usize)> =
        (0..checkpoints).map_while(|_| Some((fields.length()?, fields.length()?))).collect();
    let in_order = checkpoints.is_sorted_by(|(a, _), (b, _)| a < b);
    if !in_order || checkpoints.last().is_some_and(|(position, _)| *position > tokens.len()) {
        return None;
    }
    let top =
        (0..top).map_while(|_| Some((fields.i32()?, f32::from_bits(fields.u32()?)))).collect();
    let proof = Proof { token, top };
    Some(Header { key, conversation, anchor, tokens, proof, state, checkpoints })
}

/// Reads a file of `file_bytes` and checks all of it.
pub(super) fn read(
    source: &mut impl Read,
    file_bytes: u64,
) -> Result<(Snapshot, [u8; 32]), ReadError> {
    let (header, mut hash) = read_header(source, file_bytes)?;
    let state = read_state(source, header.state, &mut hash)?;
    let mut checkpoints = Vec::with_capacity(header.checkpoints.len());
    for (position, length) in header.checkpoints {
        let state = Arc::new(read_state(source, length, &mut hash)?);
        checkpoints.push(Checkpoint { position, state });
    }
    let mut checksum = [0; CHECKSUM];
    fill(source, &mut checksum)?;
    if hash.finish_128().to_le_bytes() != checksum {
        return Err(CHANGED);
    }
    let Header { key, conversation, anchor, tokens, proof, .. } = header;
    Ok((Snapshot { tokens, conversation, anchor, state, checkpoints, proof }, key))
}

/// Reads `length` bytes, which the file has by its length.
fn read_state(
    source: &mut impl Read,
    length: usize,
    hash: &mut XxHash3_128,
) -> Result<Vec<u8>, ReadError> {
    let mut state = Vec::new();
    let no_memory = |_| ReadError::System(io::ErrorKind::OutOfMemory.into());
    state.try_reserve_exact(length).map_err(no_memory)?;
    while state.len() < length {
        let before = state.len();
        let chunk = CHUNK.min(length - before) as u64;
        source.by_ref().take(chunk).read_to_end(&mut state).map_err(|_| UNREADABLE)?;
        if state.len() == before {
            return Err(CUT);
        }
        hash.write(&state[before..]);
    }
    Ok(state)
}

const CUT: ReadError = ReadError::Damaged("it is shorter or longer than it says");
const CHANGED: ReadError = ReadError::Damaged("its checksum is another one");
const UNREADABLE: ReadError = ReadError::Damaged("the disk cannot read it");

fn fill(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), ReadError> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => CUT,
        _ => UNREADABLE,
    })
}
