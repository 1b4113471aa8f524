insert into hook (tenant, event, hook_id, callback_url, ping_url, registered_at, refused_at, refused) values
  ('acme', 'vacancy_new', 'h1', 'https://a.example/e', 'https://a.example/p', '2026-01-05 10:00Z', null, null),
  ('acme', 'vacancy_update', 'h2', 'https://a.example/e', 'https://a.example/p', '2026-01-05 10:00Z', '2026-01-06 10:00Z', '403'),
  ('acme', 'vacancy_status', null, 'https://a.example/e', 'https://a.example/p', null, '2026-01-05 10:00Z', '400 no such event');
insert into sweep (tenant, kind, use, position, since, until, next_offset, records, broken, started_at, finished_at) values
  ('acme', 'vacancy', 'initial', 0, '2026-01-01Z', null, 0, 1, 0, '2026-01-05 10:00Z', '2026-01-05 10:01Z'),
  ('acme', 'vacancy', 'initial', 1, null, '2026-01-01Z', 50, 50, 1, '2026-01-05 10:01Z', null),
  ('acme', 'candidate', 'initial', 0, null, null, 0, 0, 0, '2026-01-05 10:00Z', '2026-01-05 10:01Z');
