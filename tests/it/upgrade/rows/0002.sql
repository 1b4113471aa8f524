insert into subject (tenant, kind, key, wanted, settled, state, due_at, waiting_since, removed_at, removed_cause) values
  ('acme', 'vacancy', 'V-1', 11, 11, 'live', '2026-01-05 10:00Z', null, null, null),
  ('acme', 'vacancy', 'V-2', 12, 0, 'unread', '2026-01-05 10:05Z', '2026-01-05 10:05Z', null, null),
  ('acme', 'candidate', 'C-1', 13, 13, 'removed', '2026-01-05 10:00Z', null, '2026-01-05 10:06Z', 'absence');
select setval('request_number', 20);
