insert into erasure (tenant, kind, hash, erased_at, reason) values
  ('acme', 'candidate', key_hash('acme', 'candidate', 'C-9'), '2026-02-06 10:00Z', 'request 17');
