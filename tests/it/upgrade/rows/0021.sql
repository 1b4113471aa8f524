update subject set vanished_at = '2026-03-20T10:00:00Z', vanished_by = 'control', vanished_limit = 10 where key = 'C-1';
