insert into report_item (tenant, kind, key, report_id, outcome, messages, item_date, item_update, noted, reported,
                         reported_at, due_at) values
  ('acme', 'vacancy', 'V-1', 'V-1', 'success', '{}', '2026-01-04T10:00:00', '2026-01-05T10:00:00', 11, 11,
   '2026-01-05 10:01Z', '2026-01-05 10:00Z');
