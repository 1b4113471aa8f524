update request_number_state set server = '7000000000000000001/00000001/16384';
