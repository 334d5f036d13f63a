"""The leaderboard: run records and published results to boards, CSV, page and metafiles. No torch.

    records/*.json              -> measured.rows_of         \\
                                                             > boards -> csv_file, readme, page
    leaderboard/published/*.yml -> published.read_published /        \\-> metafiles
"""
