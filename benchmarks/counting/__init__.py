"""What the seeds' networks cost, beside what their papers print."""
