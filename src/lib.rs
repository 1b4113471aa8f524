//! cegid-indexer
