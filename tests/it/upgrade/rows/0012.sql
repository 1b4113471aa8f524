insert into sweep (tenant, kind, use, position, due_at, next_key) values
  ('acme', 'candidate', 'rolling', 3, '2026-01-06 10:00Z', 'C-1');
