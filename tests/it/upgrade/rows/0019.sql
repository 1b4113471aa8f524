update subject set undone_at = '2026-03-20T10:00:00Z' where key = 'C-1';
