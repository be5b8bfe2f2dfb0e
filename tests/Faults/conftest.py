def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than some seconds; left out by --quick")
