insert into delivery (tenant, request_id, received_at, event, kind, key, event_date, ignored, body) values
  ('acme', gen_random_uuid(), '2026-01-05 10:00Z', 'vacancy_update', 'vacancy', 'V-1', '2026-01-05 09:59Z', null,
   '{"reference":"V-1","event_type":"vacancy_update"}'),
  ('acme', gen_random_uuid(), '2026-01-05 10:01Z', '', null, null, null, 'ping', ''),
  ('acme', gen_random_uuid(), '2026-01-05 10:02Z', 'applicant_update', 'candidate', 'C-1', null, null,
   '{"applicantId":"C-1","event_type":"applicant_update"}');
