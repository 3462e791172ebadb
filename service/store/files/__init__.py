"""Key-value files on a local disk, in S3, and on other filesystems; failures as errors for clients."""
