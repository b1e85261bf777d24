//! Settings of files that users upload.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Secret};

/// `[media]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Largest file.
    pub upload: ByteSize,
    /// What all files of one user may take; 0 for any number of bytes.
    pub user: ByteSize,
    /// Whether the deprecated endpoints serve files without a token.
    pub unauthenticated: bool,
    /// Whether links are previewed.
    pub previews: bool,
    /// Largest image of which thumbnails are made, in millions of pixels.
    pub image_megapixels: u32,
    /// Days that files of other servers are kept after they were last asked for; 0 for ever.
    pub remote_days: u32,
    /// What all files of other servers may take; 0 for any number of bytes.
    pub remote: ByteSize,
    /// Days that files of this server's users are kept after they were last asked for; 0 for ever.
    pub local_days: u32,
    /// An object store, in place of the data folder.
    pub s3: Option<S3>,
}

/// `[media.s3]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// URL of the service; AWS if none.
    pub endpoint: Option<String>,
    /// Region.
    #[serde(default = "region")]
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// What names of objects begin with.
    #[serde(default)]
    pub prefix: String,
    /// Id of the access key.
    pub access_key: String,
    /// The access key.
    pub secret_key: Option<Secret>,
    /// The file that holds `secret_key`.
    pub secret_key_file: Option<PathBuf>,
}

fn region() -> String {
    "us-east-1".to_owned()
}

impl Default for Media {
    fn default() -> Self {
        Self {
            upload: ByteSize::mebibytes(100),
            user: ByteSize::mebibytes(0),
            unauthenticated: false,
            previews: true,
            image_megapixels: 24,
            remote_days: 0,
            remote: ByteSize::mebibytes(0),
            local_days: 0,
            s3: None,
        }
    }
}
