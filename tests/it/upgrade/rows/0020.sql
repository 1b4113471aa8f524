update subject set held_at = '2026-03-20T10:00:00Z', held_unproven = true where key = 'C-17';
