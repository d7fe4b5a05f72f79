"""What `trl sft` lacks, as small parts."""
