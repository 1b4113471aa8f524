insert into subject (tenant, kind, key, wanted, settled, state, due_at, waiting_since, unclear_since) values
  ('acme', 'candidate', 'C-17', 17, 0, 'unread', '2026-02-17 10:00Z', '2026-02-17 09:50Z', '2026-02-17 09:50Z');
