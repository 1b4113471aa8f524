insert into attachment (tenant, key, id, read_number, name, mime_type, size, content, kept_at) values
  ('acme', 'C-2', 'a1', 14, 'cv.pdf', 'application/pdf', 4, '%PDF', '2026-01-05 10:00Z');
