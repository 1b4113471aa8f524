update subject set attempts = 1, failing_since = '2026-02-06 10:00Z', last_error = 'unpacking a record: archive',
  failure_digest = '\x01', failure_repeats = 1 where tenant = 'acme' and key = 'V-2';
