insert into gap_count (tenant, kind, hour, count) values ('acme', 'vacancy', '2026-01-05 10:00Z', 2);
