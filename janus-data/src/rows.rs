//! Token rows: conversations as token ids with a loss mask; packed, on disk, and as the datasets that a
//! trainer reads.

mod conversation_format;
mod dataset;
mod pack;
mod pair;
mod token_file;
mod token_row;
mod tokenise;

pub use conversation_format::ConversationFormat;
pub use dataset::{Dataset, Subset};
pub use pack::{PackedRow, Packing, concat, pack, pack_lengths, pack_stream};
pub use pair::{PairFile, PairRows, token_pairs};
pub use token_file::{TokenFile, TokenFileInfo, TokenFileProblem, TokenWriter};
pub use token_row::{LossMessages, TokenRow, token_rows};
pub use tokenise::{Tokenised, Tokenising};
