insert into unreadable (tenant, kind, digest, named, served, cause, also, place, first_at, last_at, due_at) values
  ('acme', 'vacancy', sha256('frame'), false, true, 'unpacking a record: archive', '', 0, '2026-01-06 10:00Z',
   '2026-01-06 10:00Z', '2026-01-06 10:01Z');
